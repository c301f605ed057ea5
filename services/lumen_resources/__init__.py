"""Fetches, verifies and validates a model's files, all or none."""
