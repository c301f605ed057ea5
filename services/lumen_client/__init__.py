"""The Python client of Lumen."""
