"""What a message costs before anybody knows what it says."""

import pytest

from lumen_wire.errors import InvalidArgument
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.reading import MOST_FIELDS, Unreadable, read_request

META_TAG = bytes((4 << 3 | 2,))


def tiny_entries(count: int) -> bytes:
    """So many entries of meta, each of another key: seven bytes each."""
    return b"".join(
        META_TAG + b"\x05\x0a\x03" + bytes((i >> 14 & 127, i >> 7 & 127, i & 127))
        for i in range(count)
    )


def refused(raw: bytes) -> Unreadable:
    message = read_request(raw)
    assert isinstance(message, Unreadable)
    assert isinstance(message.error, InvalidArgument)
    return message


@pytest.mark.parametrize("entry", [tiny_entries(1), b"\x32\x00", b"\x78\x00", b"\x30\x01"])
def test_a_message_of_thousands_of_fields_is_refused_by_its_names_and_not_read(entry):
    named = pb.InferRequest(correlation_id="fat", task="embed").SerializeToString()

    message = refused(named + entry * 4096 + b"\xff" * 10)  # the end is no message at all

    assert f"more than {MOST_FIELDS} fields" in message.error.message
    assert (message.correlation_id, message.task) == ("fat", "embed")


def test_a_message_with_all_the_meta_that_is_read_is_read():
    request = pb.InferRequest(
        correlation_id="1",
        task="embed",
        payload=bytes(100_000),
        payload_mime="image/jpeg",
        meta={f"key{index}": "x" * 1000 for index in range(64)},
        seq=2,
        total=3,
        offset=2**40,
    )

    assert read_request(request.SerializeToString()) == request


@pytest.mark.parametrize("length", [100, 5000])
@pytest.mark.parametrize("start", [b"\xff", b"\x0b", b"\x0a\xff\xff\xff\xff\x0f", b"\x1f"])
def test_bytes_that_are_no_message_are_refused_however_many_there_are(start, length):
    message = refused(start * (length // len(start)))

    assert message.error.message == "A message of this stream is not an InferRequest."
