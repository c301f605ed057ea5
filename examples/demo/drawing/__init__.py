"""The drawn world of the demo models: a pen, what it can draw, and what stands behind it."""
