"""Engines that run servers: as processes, as containers, or outside of the harness."""
