"""What a request costs the process beside its payload: what `budget` is charged for it.

Text outside ASCII takes up to four bytes a character in memory, and is charged for as many.
"""

from collections.abc import Iterable, Mapping

from lumen_wire.pb import ml_service_pb2 as pb

# A request in flight: its task, its timers, what it waits for, and its call to a pod.
REQUEST_OVERHEAD_BYTES = 16 * 1024
# What a part costs beside its payload: its objects, and its place in the tables.
PART_OVERHEAD_BYTES = 256
# One of the prints by which the repeated part of an answered request is known.
PRINT_BYTES = 320
# A request that is over and remembered, without its id and its prints.
PAST_BYTES = 512
_ENTRY_OVERHEAD_BYTES = 128
_TEXT_OVERHEAD_BYTES = 56


def described_bytes(message: pb.InferRequest) -> int:
    """Return what the names and the meta of one message take."""
    names = (message.correlation_id, message.task, message.payload_mime)
    return sum(map(text_bytes, names)) + meta_held_bytes(message.meta)


def meta_held_bytes(meta: Mapping[str, str]) -> int:
    """Return what a meta map takes once it is kept."""
    texts = sum(text_bytes(key) + text_bytes(value) for key, value in meta.items())
    return texts + _ENTRY_OVERHEAD_BYTES * len(meta)


def request_bytes(names: Iterable[str], payload_bytes: int, meta: Mapping[str, str]) -> int:
    """Return what a whole request takes until it is answered."""
    held = sum(map(text_bytes, names)) + meta_held_bytes(meta)
    return REQUEST_OVERHEAD_BYTES + payload_bytes + held


def text_bytes(text: str) -> int:
    """Return what a text takes at most."""
    return _TEXT_OVERHEAD_BYTES + (len(text) if text.isascii() else 4 * len(text))
