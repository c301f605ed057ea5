"""Loaded graphs: one module per library that runs ONNX files, all behind one interface."""
