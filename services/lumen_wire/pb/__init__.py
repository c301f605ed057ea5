"""The generated protocol: `ml_service_pb2` and `ml_service_pb2_grpc`."""

from lumen_wire.pb.home_native.v1 import ml_service_pb2, ml_service_pb2_grpc

__all__ = ["ml_service_pb2", "ml_service_pb2_grpc"]
