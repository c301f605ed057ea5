"""Computes the label vectors that a model was shipped without."""
