"""What the two custom resources are made of, field by field."""
