"""From the text of a manifest to validated models, or to problems with their place."""
