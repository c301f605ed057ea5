"""Label sets: names, lineages and their matrix of vectors, checked row by row."""
