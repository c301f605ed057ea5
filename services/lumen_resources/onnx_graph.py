"""Reads an ONNX graph's inputs and outputs from its protobuf, without a runtime.

Only the few fields of ModelProto that matter are walked (field numbers from onnx.proto); weights
are skipped, never read, so a 2 GB graph costs as little as a small one.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lumen_resources.errors import ResourceValidationError, translated

FLOAT, INT32, INT64, FLOAT16 = 1, 6, 7, 10
TYPE_NAMES = {FLOAT: "float32", INT32: "int32", INT64: "int64", FLOAT16: "float16"}
MAX_FIELDS = 4_000_000
MAX_VALUE_BYTES = 64 * 1024

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output; a dimension is None where the graph leaves it open."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        kind = TYPE_NAMES.get(self.element_type, f"type {self.element_type}")
        shape = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {kind} [{shape}]"


@dataclass(slots=True)
class Graph:
    """What a graph takes and gives, and which files beside it hold its weights."""

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    external_files: set[str] = field(default_factory=set)


class _DamagedError(Exception):
    """The bytes are no protobuf, or end too early."""


class _Reader:
    """Protobuf fields of a byte range; counts them, so that no file can keep it busy for long."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = MAX_FIELDS

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (number, start, end) of length-delimited fields, (number, value, -1) of varints."""
        at = start
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise _DamagedError(f"more than {MAX_FIELDS:,} fields")
            key, at = self._varint(at, end)
            number, kind = key >> 3, key & 7
            if kind == _BYTES:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise _DamagedError("it ends in the middle of a field")
                yield number, at, at + length
                at += length
            elif kind == _VARINT:
                value, at = self._varint(at, end)
                yield number, value, -1
            elif kind in {_FIXED64, _FIXED32}:
                at += 8 if kind == _FIXED64 else 4
                if at > end:
                    raise _DamagedError("it ends in the middle of a field")
            else:
                raise _DamagedError(f"wire type {kind} is not protobuf")

    def text(self, start: int, end: int) -> str:
        if end - start > MAX_VALUE_BYTES:
            raise _DamagedError("a name is longer than 64 KiB")
        return self._data[start:end].decode("utf-8", "replace")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise _DamagedError("it ends in the middle of a number")


def read_graph(path: Path) -> Graph:
    """Return a graph's inputs (weights left out), outputs and external files.

    Raises ResourceValidationError when the file is no ONNX model.
    """
    try:
        with (
            translated(path, "reading"),
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _walk_model(_Reader(data), len(data))
    except (_DamagedError, ValueError) as error:
        raise ResourceValidationError(
            f"{path.name} is not an ONNX model: {error}.",
            remedy="Export the model anew; this file was damaged before its digest was recorded.",
            file=str(path),
        ) from error


def _walk_model(reader: _Reader, size: int) -> Graph:
    graphs = [(s, e) for number, s, e in reader.fields(0, size) if number == 7 and e >= 0]
    if len(graphs) != 1:
        raise _DamagedError(f"it holds {len(graphs)} graphs")
    graph, weights = Graph(), set()
    for number, start, end in reader.fields(*graphs[0]):
        if end < 0:
            continue
        if number == 5:
            weights.add(_walk_tensor(reader, start, end, graph))
        elif number == 11:
            graph.inputs.append(_value(reader, start, end))
        elif number == 12:
            graph.outputs.append(_value(reader, start, end))
    # Graphs of the first versions list their weights among the inputs.
    graph.inputs = [value for value in graph.inputs if value.name not in weights]
    return graph


def _walk_tensor(reader: _Reader, start: int, end: int, graph: Graph) -> str:
    """Return a weight's name, and note the file that holds it when it lies outside."""
    name = ""
    for number, s, e in reader.fields(start, end):
        if number == 8 and e >= 0:
            name = reader.text(s, e)
        elif number == 13 and e >= 0:
            pair = {n: reader.text(ps, pe) for n, ps, pe in reader.fields(s, e) if pe >= 0}
            if pair.get(1) == "location":
                graph.external_files.add(pair.get(2, ""))
    return name


def _value(reader: _Reader, start: int, end: int) -> Value:
    """ValueInfoProto: name = 1, type = 2; TypeProto.tensor_type = 1: elem_type = 1, shape = 2."""
    name, element_type = "", 0
    shape: list[int | None] = []
    for number, s, e in reader.fields(start, end):
        if number == 1 and e >= 0:
            name = reader.text(s, e)
        elif number == 2 and e >= 0:
            for _, ts, te in _only(reader, s, e, 1):
                for inner, vs, ve in reader.fields(ts, te):
                    if inner == 1 and ve < 0:
                        element_type = vs
                    elif inner == 2 and ve >= 0:
                        shape = [_dimension(reader, d, de) for _, d, de in _only(reader, vs, ve, 1)]
    return Value(name, element_type, tuple(shape))


def _dimension(reader: _Reader, start: int, end: int) -> int | None:
    """Dimension: dim_value = 1, else a name or nothing: open."""
    values = [
        value for number, value, kind in reader.fields(start, end) if number == 1 and kind < 0
    ]
    return values[0] if values and values[0] > 0 else None


def _only(reader: _Reader, start: int, end: int, wanted: int) -> Iterator[tuple[int, int, int]]:
    return (f for f in reader.fields(start, end) if f[0] == wanted and f[2] >= 0)
