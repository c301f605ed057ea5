"""The bytes of the one graph that scores label matrices: an integer product with row scales.

Written field by field, since the package that writes ONNX is no part of a server's image. The
field numbers are those of onnx.proto, whose compatibility promise fixes them.
"""

from collections.abc import Iterable

from lumen_wire.varint import varint

CODES, SCALES, QUERY, SCORES = "codes", "scales", "query", "scores"
_FLOAT, _UINT8, _INT8 = 1, 2, 3
_EXTERNAL = 1
_IR_VERSION, _OPSET = 8, 17


def integer_product(rows: int, dim: int, zero_point: int) -> bytes:
    """Return a model: query uint8 [Q, dim] -> scores float32 [Q, rows].

    scores = ((query - zero_point) x codes) * scales, with initialisers codes int8 [dim, rows] and
    scales float32 [rows] that the caller must put in.
    """
    graph = b"".join(
        [
            _message(1, _node()),
            _text(2, "labels"),
            _message(5, _external(CODES, _INT8, (dim, rows))),
            _message(5, _external(SCALES, _FLOAT, (rows,))),
            _message(5, _scalar("one", _FLOAT, b"\x00\x00\x80\x3f")),
            _message(5, _scalar("zero_point", _UINT8, bytes([zero_point]))),
            _message(11, _value(QUERY, _UINT8, ("queries", dim))),
            _message(12, _value(SCORES, _FLOAT, ("queries", rows))),
        ]
    )
    return b"".join(
        [
            _number(1, _IR_VERSION),
            _message(7, graph),
            _message(8, _text(1, "") + _number(2, _OPSET)),
            _message(8, _text(1, "com.microsoft") + _number(2, 1)),
        ]
    )


def _node() -> bytes:
    inputs = (QUERY, CODES, "one", SCALES, "zero_point")
    # MatMulInteger, Cast and Mul in one kernel: the int32 product never goes to memory.
    return b"".join(
        [
            *(_text(1, name) for name in inputs),
            _text(2, SCORES),
            _text(4, "MatMulIntegerToFloat"),
            _text(7, "com.microsoft"),
        ]
    )


def _external(name: str, dtype: int, dims: Iterable[int]) -> bytes:
    """A tensor said to lie in a file; the session is given an array in its place."""
    # Any file that exists beside the module that opens sessions: it is never read.
    location = _text(1, "location") + _text(2, "__init__.py")
    shape = b"".join(_number(1, dim) for dim in dims)
    head = shape + _number(2, dtype) + _text(8, name)
    return head + _message(13, location) + _number(14, _EXTERNAL)


def _scalar(name: str, dtype: int, raw: bytes) -> bytes:
    return _number(2, dtype) + _text(8, name) + _message(9, raw)


def _value(name: str, dtype: int, dims: Iterable[int | str]) -> bytes:
    edges = b"".join(
        _message(1, _text(2, dim) if isinstance(dim, str) else _number(1, dim)) for dim in dims
    )
    tensor = _number(1, dtype) + _message(2, edges)
    return _text(1, name) + _message(2, _message(1, tensor))


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def _message(field: int, body: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(body)) + body


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())
