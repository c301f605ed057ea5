"""Models on torch: open_clip's and transformers' own towers, filled with verified weights only."""
