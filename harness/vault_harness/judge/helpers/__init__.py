"""Help scenarios."""
