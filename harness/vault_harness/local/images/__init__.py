"""Container images made of programs on this machine."""
