"""Brings a model's files here: planned, leased, transferred, verified, described."""
