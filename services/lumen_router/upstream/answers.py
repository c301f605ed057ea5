"""A pod's answer: read to its end, parts merged, errors told apart. No retries, no routing."""

import grpc
import grpc.aio

from lumen_router.errors import PodAnswerBroken
from lumen_router.upstream.lanes import InferCall
from lumen_wire import errors as wire
from lumen_wire.pb import ml_service_pb2 as pb

ANSWER_BYTES_MAX = 64 * 1024 * 1024


async def read_answer(call: InferCall) -> pb.InferResponse:
    """Return the one answer to a call, its parts merged.

    Raises the WireError that the pod answered, in-band or as a status.
    """
    try:
        first = await call.read()
        if isinstance(first, pb.InferResponse) and first.is_final and not first.seq:
            return _checked(first)
        return _checked(await _read_parts(call, first))
    except grpc.aio.AioRpcError as error:
        raise status_error(error) from error


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


async def _read_parts(call: InferCall, first: object) -> pb.InferResponse:
    parts: list[pb.InferResponse] = []
    size = 0
    part: object = first
    while isinstance(part, pb.InferResponse):
        parts.append(part)
        size += len(part.result)
        if size > ANSWER_BYTES_MAX:
            call.cancel()
            raise PodAnswerBroken(f"the answer exceeds {ANSWER_BYTES_MAX} bytes: ask for less")
        if part.is_final:
            return merge_parts(parts)
        part = await call.read()
    # A pod that begins to drain ends new streams with OK: another pod may answer.
    raise wire.Unavailable("the pod ended the call without a complete answer: try again")


def merge_parts(parts: list[pb.InferResponse]) -> pb.InferResponse:
    """Merge the parts of one answer, in any order; raises PodAnswerBroken when one is missing."""
    final = parts[-1]
    ordered = sorted(parts, key=lambda part: part.offset)
    result = b"".join(part.result for part in ordered)
    offset = 0
    for part in ordered:
        if part.offset != offset:
            raise PodAnswerBroken("a part of the pod's answer is missing: try again")
        offset += len(part.result)
    whole = pb.InferResponse(
        is_final=True,
        result=result,
        result_mime=ordered[0].result_mime,
        result_schema=ordered[0].result_schema,
        meta=dict(ordered[0].meta) | dict(final.meta),
    )
    if final.HasField("error"):
        whole.error.CopyFrom(final.error)
    return whole


def _checked(answer: pb.InferResponse) -> pb.InferResponse:
    if not answer.HasField("error"):
        return answer
    error = wire.from_inband(answer.error, answer.meta)
    if isinstance(error, wire.Cancelled):
        raise wire.Unavailable(error.message, detail=error.detail)
    raise error
