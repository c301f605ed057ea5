"""The best rows of a label matrix, proven: int8 codes first, exact cosines where it matters."""
