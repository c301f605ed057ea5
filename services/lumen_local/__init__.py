"""Runs rendered pods as processes of this machine."""
