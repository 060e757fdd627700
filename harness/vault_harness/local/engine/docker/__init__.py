"""Servers in containers: for one run, or for the stack that outlives its task.

The package above does not import this one, because the docker client is slow to load.
"""
