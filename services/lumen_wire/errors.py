"""What a caller is told: one tree, one table, both ways over the wire.

    WireError
    |- InvalidArgument      the request can never succeed as it is
    |- NotFound             a service or label set that does not exist
    |- FailedPrecondition   right request, wrong server (another embedding space, ...)
    |- Unauthenticated      no token, or a wrong one
    |- ResourceExhausted    full; `retry_after_ms` says when to come back
    |- Unavailable          loading, stopping, or a part behind it is gone
    |- DeadlineExceeded     the caller's time is over, or will be before the answer
    |- Cancelled            the caller left
    `- Internal             our fault; the log has the cause

Deployables derive their own errors from these.
`message` is a sentence for the caller; causes travel as `__cause__`, to the log only.
"""

from collections.abc import Iterable, Mapping
from typing import ClassVar, cast

import grpc

from lumen_wire.pb import ml_service_pb2 as pb

PUSHBACK_METADATA = "grpc-retry-pushback-ms"
PUSHBACK_META = "retry_after_ms"
# grpc.aio's words for a write that failed; no server says this.
LOST_STATUS = "Internal error from Core"


class WireError(Exception):
    """Base of all; `status` is the gRPC code that it becomes."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL

    def __init_subclass__(cls, status: grpc.StatusCode | None = None) -> None:
        cls.status = status or cls.status

    def __init__(
        self, message: str, *, detail: str = "", retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after_ms = retry_after_ms


class InvalidArgument(WireError, status=grpc.StatusCode.INVALID_ARGUMENT):
    """The request can never succeed as it is; the message says what to change."""


class NotFound(WireError, status=grpc.StatusCode.NOT_FOUND):
    """A named thing (service, label set) does not exist here."""


class FailedPrecondition(WireError, status=grpc.StatusCode.FAILED_PRECONDITION):
    """The request is right, but not for this server as it is."""


class Unauthenticated(WireError, status=grpc.StatusCode.UNAUTHENTICATED):
    """No token, or one that is not accepted."""


class ResourceExhausted(WireError, status=grpc.StatusCode.RESOURCE_EXHAUSTED):
    """A bound is reached; `retry_after_ms` says when to try again, if that is known."""


class Unavailable(WireError, status=grpc.StatusCode.UNAVAILABLE):
    """Loading, stopping, or unreachable: another node may answer."""


class DeadlineExceeded(WireError, status=grpc.StatusCode.DEADLINE_EXCEEDED):
    """The answer cannot come in time."""


class Cancelled(WireError, status=grpc.StatusCode.CANCELLED):
    """The caller, or the server that asked for it, gave the request up."""


class Internal(WireError, status=grpc.StatusCode.INTERNAL):
    """A fault of this server; the cause is in its log."""

    logged = False  # set where the cause was written to the log, so that it is written once


# The one table. gRPC code -> (class that stands for it, code of an in-band error).
_TABLE: Mapping[grpc.StatusCode, tuple[type[WireError], "pb.ErrorCode.ValueType"]] = {
    grpc.StatusCode.INVALID_ARGUMENT: (InvalidArgument, pb.ERROR_CODE_INVALID_ARGUMENT),
    grpc.StatusCode.NOT_FOUND: (NotFound, pb.ERROR_CODE_INVALID_ARGUMENT),
    grpc.StatusCode.FAILED_PRECONDITION: (FailedPrecondition, pb.ERROR_CODE_INVALID_ARGUMENT),
    grpc.StatusCode.UNAUTHENTICATED: (Unauthenticated, pb.ERROR_CODE_INVALID_ARGUMENT),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ResourceExhausted, pb.ERROR_CODE_UNAVAILABLE),
    grpc.StatusCode.UNAVAILABLE: (Unavailable, pb.ERROR_CODE_UNAVAILABLE),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, pb.ERROR_CODE_DEADLINE_EXCEEDED),
    grpc.StatusCode.CANCELLED: (Cancelled, pb.ERROR_CODE_UNAVAILABLE),
    grpc.StatusCode.INTERNAL: (Internal, pb.ERROR_CODE_INTERNAL),
}
_OWN_CODES: Mapping["pb.ErrorCode.ValueType", grpc.StatusCode] = {
    pb.ERROR_CODE_INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    pb.ERROR_CODE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    pb.ERROR_CODE_DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    pb.ERROR_CODE_INTERNAL: grpc.StatusCode.INTERNAL,
}
# Codes that we never send but may receive from a peer.
_FOREIGN: Mapping[grpc.StatusCode, type[WireError]] = {
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgument,
    grpc.StatusCode.ALREADY_EXISTS: FailedPrecondition,
    grpc.StatusCode.PERMISSION_DENIED: Unauthenticated,
    grpc.StatusCode.UNIMPLEMENTED: FailedPrecondition,
    grpc.StatusCode.ABORTED: Unavailable,
}


def to_inband(error: WireError) -> pb.Error:
    """Return the error as an answer of its own; names that the enum lacks go into `detail`."""
    code = _TABLE[error.status][1]
    detail = error.detail
    if _OWN_CODES[code] is not error.status:
        detail = f"{error.status.name}: {detail}" if detail else error.status.name
    return pb.Error(code=code, message=error.message, detail=detail)


def to_inband_meta(error: WireError) -> dict[str, str]:
    """Return the response meta that goes with an in-band error (pushback, if any)."""
    if error.retry_after_ms is None:
        return {}
    return {PUSHBACK_META: str(error.retry_after_ms)}


def to_trailing_metadata(error: WireError) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata of a gRPC status (pushback, if any)."""
    if error.retry_after_ms is None:
        return ()
    return ((PUSHBACK_METADATA, str(error.retry_after_ms)),)


def from_status(
    code: grpc.StatusCode, message: str, *, retry_after_ms: int | None = None
) -> WireError:
    """Return the error that stands for a gRPC status; what we do not know is Internal."""
    known = _TABLE.get(code)
    kind = known[0] if known is not None else _FOREIGN.get(code, Internal)
    return kind(message or code.name, retry_after_ms=retry_after_ms)


def from_rpc_error(error: grpc.aio.AioRpcError) -> WireError:
    """Return the error that a failed call stands for, pushback included.

    A write that comes after the server has ended the call makes grpc.aio report INTERNAL of its
    own, in place of the server's status, which is lost: that is Unavailable, not a fault of ours.
    """
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == LOST_STATUS:
        return Unavailable("The server ended the call while the request was being sent.")
    trailing = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    pushback = next((value for key, value in trailing if key == PUSHBACK_METADATA), None)
    return from_status(error.code(), error.details() or "", retry_after_ms=_milliseconds(pushback))


def from_inband(error: pb.Error, meta: Mapping[str, str]) -> WireError:
    """Return the error that an answer carries; `detail` names the real one where it differs."""
    name, _, rest = error.detail.partition(":")
    real = grpc.StatusCode.__members__.get(name)
    if real is None or real not in _TABLE:
        real, rest = _OWN_CODES.get(error.code, grpc.StatusCode.INTERNAL), error.detail
    return _TABLE[real][0](
        error.message, detail=rest.strip(), retry_after_ms=_milliseconds(meta.get(PUSHBACK_META))
    )


def _milliseconds(text: str | bytes | None) -> int | None:
    """Return a pushback from a peer, or None when it is absent, negative or not a number."""
    if text is None:
        return None
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None
