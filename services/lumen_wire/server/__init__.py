"""A gRPC server as every deployable runs it: the Infer stream, health, limits."""
