"""What a finished answer holds of its caller's account until the caller has read it."""

from lumen_wire.errors import ResourceExhausted, WireError
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.budget import REQUEST_OVERHEAD_BYTES, Account
from lumen_wire.request.chunks import Assembled


def kept_instead(
    account: Account, request: Assembled, answer: pb.InferResponse | WireError
) -> pb.InferResponse | WireError:
    """Let an answer take its request's place in the account; return what is to be said.

    While it waits to be written nobody needs the payload. An answer that exceeds the caller's
    share is not kept either.
    """
    request.payload = b""
    change = least = REQUEST_OVERHEAD_BYTES - request.held_bytes
    if isinstance(answer, pb.InferResponse):
        change += answer.ByteSize()
    if change > 0 and not account.try_take(change):
        change = least
        answer = ResourceExhausted(
            "This client has not read its earlier answers yet; read them, then ask again.",
            retry_after_ms=1000,
        )
    if change < 0:
        account.give_back(-change)
    request.held_bytes += change
    return answer
