"""The backends: one module per runtime, imported only when it is asked for."""
