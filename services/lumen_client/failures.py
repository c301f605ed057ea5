"""What went wrong on the way, as one of this package's errors: a sentence that ends in what to do.

gRPC has a code for who failed and none for how; its core's sentences are the only sign of that.
"""

import os
from dataclasses import dataclass

import grpc

from lumen_client.errors import (
    CallStopped,
    NotAllowed,
    NotForThisServer,
    NotInTime,
    NotReachable,
    NotThere,
    RequestRefused,
    ServerError,
    ServerFull,
    ServerNotReady,
    UsageError,
)
from lumen_process.proxies import Proxy, grpc_proxy
from lumen_wire import errors

_KINDS: dict[grpc.StatusCode, type[ServerError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RequestRefused,
    grpc.StatusCode.NOT_FOUND: NotThere,
    grpc.StatusCode.FAILED_PRECONDITION: NotForThisServer,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServerFull,
    grpc.StatusCode.UNAVAILABLE: ServerNotReady,
    grpc.StatusCode.DEADLINE_EXCEEDED: NotInTime,
    grpc.StatusCode.CANCELLED: CallStopped,
}
FOR_ALL = (NotReachable, NotThere, NotAllowed, NotForThisServer, CallStopped, UsageError)
"""What the next item would be told as well: these end a batch."""

_NOBODY = (
    "{target} does not answer. Is Lumen running? Start it with: lumen up -f examples/demo.yaml"
)
_UNKNOWN_NAME = "the name {host} is not known here. Check how it is written, and the network."
# Words of gRPC's core, the first that fits, with what they mean. Some contain others.
_NO_CONNECTION = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        (
            "{target} shows a certificate that is not trusted here. Give what signed it, "
            "Tls(roots=...), or the name that it was made for, Tls(authority=...)."
        ),
    ),
    (
        "handshake",
        (
            "{target} does not speak TLS, or wants a certificate of yours. Write grpc:// for a "
            "server without TLS, or give one: Tls(certificate=..., key=...)."
        ),
    ),
    ("errors resolving", _UNKNOWN_NAME),
    ("DNS resolution failed", _UNKNOWN_NAME),
    (
        "http1.x server",
        "{target} answers, but does not speak gRPC. Name the port of a router or a model server.",
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client calls, and how long it waits there."""

    host: str
    target: str
    timeout_s: float


def client_error(error: errors.WireError, place: Place) -> ServerError:
    """Return what the caller is told of a failed call."""
    cause = error.__cause__
    said = (cause.details() or "") if isinstance(cause, grpc.aio.AioRpcError) else ""
    code = cause.code() if isinstance(cause, grpc.aio.AioRpcError) else error.status
    proxy = grpc_proxy(place.host, os.environ)
    sentence = _lost(said, place, proxy) if isinstance(error, errors.Unavailable) else ""
    if sentence:
        return NotReachable(error.status.name, sentence, address=place.target)
    kind = _KINDS.get(error.status, ServerError)
    message = _plain(code, error.message, place, proxy)
    return kind(
        error.status.name, message, address=place.target, retry_after_ms=error.retry_after_ms
    )


def _lost(said: str, place: Place, proxy: Proxy | None) -> str:
    """Return a sentence when nobody was reached at all, else ""."""
    known = next((text for words, text in _NO_CONNECTION if words in said), "")
    if not known and "failed to connect to all addresses" not in said:
        return ""
    if proxy is not None:
        return (
            f"{place.target} does not answer through the proxy {proxy}. "
            f"Where it is reached without one, add {place.host} to no_proxy."
        )
    return (known or _NOBODY).format(target=place.target, host=place.host)


def _plain(code: grpc.StatusCode, message: str, place: Place, proxy: Proxy | None) -> str:
    """Return gRPC's own bare words as a sentence; a server's are sentences already."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and message in {"Deadline Exceeded", code.name}:
        way = f" through the proxy {proxy}" if proxy is not None else ""
        return (
            f"no answer came{way} within {place.timeout_s:g} s. Give it longer (timeout_s, or "
            "--timeout on the command line), or ask for less at a time."
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"{place.target} is not a Lumen server. Name the port of a router or a model server."
    if code is grpc.StatusCode.CANCELLED and message.isupper():
        return "the call was given up before an answer came. Ask again."
    return message
