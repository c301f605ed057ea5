"""`smart_classify`: the scene first, and the species where the rule says so."""
