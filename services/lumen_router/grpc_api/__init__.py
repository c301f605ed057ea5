"""`home_native.v1` on gRPC: from messages to the core and back."""
