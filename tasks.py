"""The invoke tasks."""
