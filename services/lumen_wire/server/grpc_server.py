"""A gRPC server as every deployable runs it: limits, pings, ages, names, reflection, health.

gRPC's Python has no memory quota, so the bounds are these: a message is at most so long, an unread
stream holds one small window, streams and connections are counted. What is left, messages that
are under way, `open_streams` watches.

The event loop is the caller's business; build and run everything on one loop.
"""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from lumen_process.addresses import host_port
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.reading import read_request
from lumen_wire.request.splitting import WHOLE_MESSAGE_BYTES
from lumen_wire.server.health import HEALTH_SERVICE, HealthBoard, HealthCalls
from lumen_wire.server.interceptors import CallMetrics, intercept, stream_writer
from lumen_wire.server.small_calls import LONGEST_REQUEST_BYTES, SmallRequests, brief, reflected

_DESCRIPTOR = pb.DESCRIPTOR.services_by_name["Inference"]
SERVICE = _DESCRIPTOR.full_name
# What clients of the first generation call the same service.
OLD_SERVICE = "inference.Inference"

_MIB = 1024 * 1024
_FOR_EVER_MS = 2**31 - 1  # gRPC's own word for no limit


class Servicer(Protocol):
    """The four calls. They raise WireError; the server makes a status of it."""

    async def Infer(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        """Serve one stream, by `serve_stream`."""

    async def GetCapabilities(self, request: Any, context: Any) -> pb.Capability:  # noqa: N802
        """Return one record."""

    def StreamCapabilities(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.Capability]:
        """Yield one record per service."""

    async def Health(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802
        """Return when serving, raise Unavailable otherwise."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Limits of one server."""

    max_receive_bytes: int = WHOLE_MESSAGE_BYTES
    max_send_bytes: int = 64 * _MIB
    # Clients ping each 10 s; half of it, since theirs and our clocks and queues differ.
    min_ping_interval_s: float = 5.0
    max_connection_age_s: float = 600.0
    # Clients keep streams open: an aged connection ends when its last stream does.
    max_connection_age_grace_s: float | None = None
    # A router has one connection to a pod, and a stream on it for each call: twice what any batch
    # takes. More of them wait with the client, and 16 hostile ones leave room for a good one.
    max_concurrent_streams: int = 128
    max_connections: int = 4096
    # Calls that Python has not yet taken up. gRPC refuses some above the first and all above the
    # second, whoever sends them; so many are taken up within a second or two.
    max_pending_calls: int = 4096
    # Who has not said hello by then is not a client.
    handshake_s: float = 10.0
    # A picture comes in one frame instead of a dozen of 16 KiB: 6 % less CPU in the router.
    max_frame_bytes: int = _MIB

    def channel_arguments(self) -> list[tuple[str, int]]:
        """Return them as gRPC wants them."""
        grace_s = self.max_connection_age_grace_s
        return [
            ("grpc.max_receive_message_length", self.max_receive_bytes),
            ("grpc.max_send_message_length", self.max_send_bytes),
            ("grpc.max_concurrent_streams", self.max_concurrent_streams),
            ("grpc.server.max_pending_requests", self.max_pending_calls),
            ("grpc.server.max_pending_requests_hard_limit", 2 * self.max_pending_calls),
            ("grpc.max_allowed_incoming_connections", self.max_connections),
            ("grpc.server_handshake_timeout_ms", _ms(self.handshake_s)),
            ("grpc.http2.max_frame_size", self.max_frame_bytes),
            # Left to itself it invites up to 32 MiB on streams that nobody reads. A message that
            # is waited for is invited whole in any case.
            ("grpc.http2.bdp_probe", 0),
            # 16 KiB of gzip would be 16 MiB here. Pictures do not shrink, and no client tries: what
            # is compressed comes as it is, and is not a request. Refused by gRPC, each would be a
            # line on stderr.
            ("grpc.per_message_decompression", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", _ms(self.min_ping_interval_s)),
            ("grpc.max_connection_age_ms", _ms(self.max_connection_age_s)),
            (
                "grpc.max_connection_age_grace_ms",
                _FOR_EVER_MS if grace_s is None else _ms(grace_s),
            ),
            # Two servers must not share a port in silence.
            ("grpc.so_reuseport", 0),
        ]


HEALTH_OPTIONS = ServerOptions(
    max_receive_bytes=LONGEST_REQUEST_BYTES,
    max_connection_age_s=300.0,
    max_connection_age_grace_s=10.0,
    max_concurrent_streams=16,
    max_connections=1024,
    max_frame_bytes=16384,
)
"""For a port that only probes ask: nothing there is large or lasts."""


class PortUnavailable(Exception):
    """The server cannot listen where it was told to; the message names the address."""


def build_server(
    servicer: Servicer,
    board: HealthBoard,
    options: ServerOptions | None = None,
    metrics: CallMetrics | None = None,
) -> grpc.aio.Server:
    """Return a server of both service names, reflection and health; no port is bound yet."""
    server = grpc.aio.server(options=(options or ServerOptions()).channel_arguments())
    requests = SmallRequests()
    handlers = _method_handlers(servicer, metrics)
    for name in (SERVICE, OLD_SERVICE):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    _describe_old_service()
    server.add_generic_rpc_handlers(
        (HealthCalls(board, requests).handlers(), _reflection_handlers(requests))
    )
    return server


def build_health_server(board: HealthBoard, options: ServerOptions = HEALTH_OPTIONS) -> Any:
    """Return a plaintext server of health alone: probes speak neither TLS nor tokens."""
    server = grpc.aio.server(options=options.channel_arguments())
    # A whole request is 4 KiB here: there may be many.
    requests = SmallRequests(most=1024)
    server.add_generic_rpc_handlers((HealthCalls(board, requests).handlers(),))
    return server


def bind(server: grpc.aio.Server, host: str, port: int) -> int:
    """Listen in plaintext on `host:port` (0: any free port) and return the port.

    Raises PortUnavailable.
    """
    bare = host.strip("[]")
    try:
        _try_bind(bare, port)
        return server.add_insecure_port(host_port(bare, port))
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "refused by gRPC"
        raise PortUnavailable(
            f"Cannot listen on port {port} of {bare} ({why})."
            " Stop the process that uses it, or choose another port or address."
        ) from error


def _try_bind(host: str, port: int) -> None:
    """Bind and let go: gRPC writes its own complaint to stderr and does not say why."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _method_handlers(
    servicer: Servicer, metrics: CallMetrics | None
) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Return the four calls.

    To gRPC each takes a stream of requests, since then it is this side that decides when to read
    one; those without input never do, whatever is sent there.
    """
    streamed = stream_writer(servicer.StreamCapabilities)
    return {
        "Infer": grpc.stream_stream_rpc_method_handler(
            intercept("Infer", servicer.Infer, metrics),
            request_deserializer=read_request,
            response_serializer=pb.InferResponse.SerializeToString,
        ),
        "GetCapabilities": grpc.stream_unary_rpc_method_handler(
            intercept("GetCapabilities", brief(servicer.GetCapabilities), metrics),
            response_serializer=pb.Capability.SerializeToString,
        ),
        "StreamCapabilities": grpc.stream_stream_rpc_method_handler(
            intercept("StreamCapabilities", brief(streamed), metrics),
            response_serializer=pb.Capability.SerializeToString,
        ),
        "Health": grpc.stream_unary_rpc_method_handler(
            intercept("Health", brief(servicer.Health), metrics),
            response_serializer=empty_pb2.Empty.SerializeToString,
        ),
    }


def _reflection_handlers(requests: SmallRequests) -> "grpc.GenericRpcHandler":
    names = (SERVICE, OLD_SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME)
    info: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        intercept("ServerReflectionInfo", brief(stream_writer(reflected(names, requests)))),
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(
        reflection.SERVICE_NAME, {"ServerReflectionInfo": info}
    )


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _describe_old_service() -> None:
    """Describe the old name to reflection: without a descriptor, tools cannot call it."""
    pool = descriptor_pool.Default()
    file = descriptor_pb2.FileDescriptorProto(
        name="inference/ml_service.proto",
        package=OLD_SERVICE.rpartition(".")[0],
        syntax="proto3",
        dependency=[pb.DESCRIPTOR.name, *(d.name for d in pb.DESCRIPTOR.dependencies)],
    )
    service = file.service.add()
    _DESCRIPTOR.CopyToProto(service)
    pool.AddSerializedFile(file.SerializeToString())  # the same bytes twice do not conflict
