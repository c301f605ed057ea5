"""One call: what is asked, how a pod is told it, and what it answers. No retries, no routing.

`InferenceRequest` and `InferenceAnswer` are what every transport reads and writes; a `Call` is
what of a request goes to the pods of one service.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import grpc
import grpc.aio

from lumen_router.errors import PodAnswerBroken
from lumen_router.routes.table import RouteTarget
from lumen_router.upstream.lanes import InferCall
from lumen_router.upstream.pending_calls import HOLD_S
from lumen_wire import errors as wire
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.callers import STRANGER, Caller
from lumen_wire.varint import varint

ANSWER_BYTES_MAX = 64 * 1024 * 1024
# Pods receive 16 MiB in one message, of which ids and meta may need a little.
WHOLE_BYTES = 15 * 1024 * 1024
PART_BYTES = 8 * 1024 * 1024
# Field number and wire type (2: bytes of a given length), as protobuf writes them.
_PAYLOAD_TAG = bytes([pb.InferRequest.PAYLOAD_FIELD_NUMBER << 3 | 2])


@dataclass(slots=True)
class InferenceRequest:
    """One whole request. `meta["service"]` names the service where the task alone does not.

    The payload is taken out of it once a call has it, so that it is held once and not twice.
    """

    task: str
    payload: bytes
    mime: str
    meta: dict[str, str]
    correlation_id: str = ""
    caller: Caller = STRANGER


@dataclass(frozen=True, slots=True)
class InferenceAnswer:
    """One whole answer."""

    result: bytes
    mime: str
    schema: str
    meta: dict[str, str]


@dataclass(slots=True)
class Call:
    """What is to be asked of a service. `space` is empty unless the caller demands one.

    `meta` goes to the pod as it is, and under an opaque name who the caller is. `hold_s` bounds the
    wait for a ready pod. Who forwards it takes the payload out of it, so that it is held once and
    not twice while the call lasts.
    """

    target: RouteTarget
    payload: bytes
    mime: str
    meta: Mapping[str, str]
    correlation_id: str = ""
    space: str = ""
    hold_s: float = HOLD_S
    caller: Caller = STRANGER

    @classmethod
    def of(
        cls,
        request: InferenceRequest,
        target: RouteTarget,
        meta: Mapping[str, str],
        hold_s: float,
        space: str | None = None,
    ) -> Self:
        """Return what is to be asked about a request's payload on behalf of its caller."""
        sent = request.payload, request.mime, meta, request.correlation_id
        return cls(target, *sent, space or "", hold_s, request.caller)


def messages_of(call: Call) -> list[bytes]:
    """Return the request as the pod reads it, with one copy of the payload instead of three.

    One message up to `WHOLE_BYTES` of payload, above that as many as it takes.
    """
    head = pb.InferRequest(
        correlation_id=call.correlation_id,
        task=call.target.pod_task,
        payload_mime=call.mime,
        meta=call.meta,
    ).SerializeToString()
    if len(call.payload) <= WHOLE_BYTES:
        return [_message(head, call.payload)]
    total = -(-len(call.payload) // PART_BYTES)
    whole = memoryview(call.payload)
    messages = []
    for seq in range(total):
        offset = seq * PART_BYTES
        place = pb.InferRequest(seq=seq, total=total, offset=offset).SerializeToString()
        messages.append(_message(head + place, whole[offset : offset + PART_BYTES]))
    return messages


def _message(head: bytes, payload: bytes | memoryview) -> bytes:
    return b"".join((head, _PAYLOAD_TAG, varint(len(payload)), payload))


async def read_answer(call: InferCall) -> InferenceAnswer:
    """Return the one answer to a call, its parts merged.

    Raises the WireError that the pod answered, in-band or as a status.
    """
    parts: list[pb.InferResponse] = []
    size = 0
    try:
        while isinstance(part := await call.read(), pb.InferResponse):
            parts.append(part)
            size += part.ByteSize()
            if size > ANSWER_BYTES_MAX:
                call.cancel()
                raise PodAnswerBroken(f"the answer exceeds {ANSWER_BYTES_MAX} bytes: ask for less")
            if part.is_final:
                return merge_parts(parts)
    except grpc.aio.AioRpcError as error:
        raise status_error(error) from error
    # A pod that begins to drain ends new streams with OK: another pod may answer.
    raise wire.Unavailable("the pod ended the call without a complete answer: try again")


def merge_parts(parts: list[pb.InferResponse]) -> InferenceAnswer:
    """Merge the parts of one answer, in any order but for the last.

    Raises PodAnswerBroken when one is missing, and the WireError that the answer holds.
    """
    final = parts[-1]
    ordered = sorted(parts, key=lambda part: part.offset)
    results = [part.result for part in ordered]
    offset = 0
    for part, result in zip(ordered, results, strict=True):
        if part.offset != offset:
            raise PodAnswerBroken("a part of the pod's answer is missing: try again")
        offset += len(result)
    meta = dict(final.meta)
    if len(parts) > 1:
        meta = dict(ordered[0].meta) | meta
    if final.HasField("error"):
        error = wire.from_inband(final.error, meta)
        if isinstance(error, wire.Cancelled):
            raise wire.Unavailable(error.message, detail=error.detail)
        raise error
    return InferenceAnswer(
        b"".join(results), ordered[0].result_mime, ordered[0].result_schema, meta
    )


def status_error(error: grpc.aio.AioRpcError) -> wire.WireError:
    """Return what a pod's status means for the call.

    A dying pod also shows as CANCELLED (nobody here cancelled) or as a reset stream: both mean
    that another pod may answer.
    """
    details = error.details() or ""
    reset = error.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN} and (
        "RST_STREAM" in details or "Stream removed" in details
    )
    if reset or error.code() is grpc.StatusCode.CANCELLED:
        return wire.Unavailable(details or "the pod gave the call up")
    return wire.from_rpc_error(error)
