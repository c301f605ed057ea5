"""What one message says by itself: whether it may be read, and whether it is a whole request."""

from lumen_wire import tasks
from lumen_wire.errors import InvalidArgument
from lumen_wire.meta import normalise_mime
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.containers import Ending, ending
from lumen_wire.request.part_buffer import meta_bytes

LONGEST_NAME = 256


def check_envelope(message: pb.InferRequest) -> None:
    """Raise InvalidArgument when seq is impossible, or names and meta exceed all bounds."""
    if message.seq >= message.total > 0:
        raise InvalidArgument(
            f"Part {message.seq} cannot be one of {message.total}: seq counts from 0 to total - 1."
        )
    for name in ("correlation_id", "task", "payload_mime"):
        if len(getattr(message, name)) > LONGEST_NAME:
            raise InvalidArgument(f"{name} is longer than {LONGEST_NAME} characters.")
    meta_bytes(message.meta)


def stands_alone(message: pb.InferRequest, payload: bytes) -> bool:
    """Say whether a message with seq 0 and offset 0 is whole by what it carries."""
    mime = normalise_mime(message.payload_mime)
    if mime.startswith("text/") or tasks.takes_text(message.task):
        return True
    return ending(payload) is Ending.PROPER
