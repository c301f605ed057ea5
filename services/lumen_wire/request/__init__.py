"""Whole requests out of the messages of a stream: any dialect, bounded, charged."""
