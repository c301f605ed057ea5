"""One message of a stream: read only when that is cheap, and whether it is a request by itself.

A map of two million tiny entries fits into a message of 16 MiB, takes seconds of the event loop
and 400 MiB to read. So what is long is looked over first: a request has few fields, and a long
one is a long payload.
"""

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from lumen_wire import tasks
from lumen_wire.errors import InvalidArgument, WireError
from lumen_wire.meta import normalise_mime
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.containers import Ending, ending
from lumen_wire.request.part_buffer import MOST_META_ENTRIES, meta_bytes

# Reading less takes under a millisecond, whatever it is.
_SHORT_BYTES = 4096
# All meta that is read, its neighbour that is refused with its figure, and as many of other kinds.
MOST_FIELDS = 2 * MOST_META_ENTRIES
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands for a message that is not read; the stream itself is unharmed by it."""

    error: WireError
    correlation_id: str = ""
    task: str = ""


def read_request(raw: bytes) -> pb.InferRequest | Unreadable:
    """Return the message; raised here, an error would end the stream with a fault of ours."""
    try:
        if len(raw) > _SHORT_BYTES and (cut := _end_of_fields(raw)) < len(raw):
            return _too_many_fields(raw[:cut])
        return pb.InferRequest.FromString(raw)
    except DecodeError:
        return Unreadable(InvalidArgument("A message of this stream is not an InferRequest."))


def _too_many_fields(first: bytes) -> Unreadable:
    """Refuse a message, by the names that are among its first fields: there they usually are."""
    named = pb.InferRequest.FromString(first)
    return Unreadable(
        InvalidArgument(
            f"The message has more than {MOST_FIELDS} fields; at most {MOST_META_ENTRIES} entries"
            " of meta are read."
        ),
        named.correlation_id,
        named.task,
    )


def _end_of_fields(raw: bytes) -> int:
    """Return where the first MOST_FIELDS fields end; the length when there are no more of them."""
    at = 0
    for _ in range(MOST_FIELDS):
        if at >= len(raw):
            break
        tag, at = _varint(raw, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(raw, at)
        elif kind == _BYTES:
            length, at = _varint(raw, at)
            at += length
        elif kind in {_FIXED64, _FIXED32}:
            at += 8 if kind == _FIXED64 else 4
        else:  # groups are none of ours
            raise DecodeError
    return min(at, len(raw))


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    number = shift = 0
    for byte in raw[at : at + 10]:
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise DecodeError


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
