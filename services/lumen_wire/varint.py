"""Protobuf's own way to write a number, for messages that are put together by hand."""


def varint(number: int) -> bytes:
    """Return a number of 0 or more as protobuf writes it: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
