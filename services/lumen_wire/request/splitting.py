"""Cutting what is too large for one message: requests by clients, answers by servers."""

from collections.abc import Iterator

from lumen_wire.pb import ml_service_pb2 as pb

# gRPC's default receive limit, which clients keep; parts leave ample room for ids and meta.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
RESPONSE_PART_BYTES = 1024 * 1024

# What a server receives in one message; a larger request comes in parts.
WHOLE_MESSAGE_BYTES = 16 * 1024 * 1024

# What today's SDKs do: whole up to 1 MiB, parts of 256 KiB above.
REQUEST_WHOLE_BYTES = 1024 * 1024
REQUEST_PART_BYTES = 256 * 1024


def split_response(
    response: pb.InferResponse, max_bytes: int = MAX_MESSAGE_BYTES
) -> list[pb.InferResponse]:
    """Return the answer itself when it fits into `max_bytes`, else its parts in order.

    Parts have the same total, ids, meta, mime and schema, unique seq and contiguous offsets;
    only the last may be final.
    """
    if response.ByteSize() <= max_bytes:
        return [response]
    result = response.result
    if not result:  # nothing to cut: meta alone is that large
        return [response]
    part_bytes = max(min(RESPONSE_PART_BYTES, max_bytes // 2), 1)
    total = -(-len(result) // part_bytes)
    envelope = pb.InferResponse()
    envelope.CopyFrom(response)
    envelope.ClearField("result")
    envelope.is_final = False
    parts = []
    for seq, offset, piece in _pieces(result, part_bytes):
        part = pb.InferResponse()
        part.CopyFrom(envelope)
        part.result = piece
        part.seq, part.total, part.offset = seq, total, offset
        parts.append(part)
    parts[-1].is_final = response.is_final
    return parts


def split_request(
    request: pb.InferRequest,
    part_bytes: int = REQUEST_PART_BYTES,
    whole_bytes: int = REQUEST_WHOLE_BYTES,
) -> list[pb.InferRequest]:
    """Return the request itself up to `whole_bytes` of payload, else its parts in order.

    Every part carries ids, task, mime and meta.
    """
    payload = request.payload
    if len(payload) <= whole_bytes:
        return [request]
    total = -(-len(payload) // part_bytes)
    return [
        pb.InferRequest(
            correlation_id=request.correlation_id,
            task=request.task,
            payload=piece,
            meta=request.meta,
            payload_mime=request.payload_mime,
            seq=seq,
            total=total,
            offset=offset,
        )
        for seq, offset, piece in _pieces(payload, part_bytes)
    ]


def _pieces(data: bytes, part_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    for seq, offset in enumerate(range(0, len(data), part_bytes)):
        yield seq, offset, data[offset : offset + part_bytes]
