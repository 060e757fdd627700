"""Servers as child processes: for one run, or for the stack that outlives its task."""
