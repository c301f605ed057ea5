"""The model server: one model per process behind gRPC."""
