"""Servers in containers.

The package above does not import this one: the docker client is slow to load.
"""
