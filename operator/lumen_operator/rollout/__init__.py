"""Which revision runs, and how its pods replace the others. Pure."""
