"""Reads an ONNX graph's inputs and outputs from its protobuf, without a runtime.

Only the few fields of ModelProto that matter are walked (field numbers from onnx.proto); weights
are skipped, never read, so a 2 GB graph costs as little as a small one.
Whatever can name a file is walked to its end: a tensor may stand in a node, in a branch of it, in
a function, in a sparse weight. `tests/unit` compares the table with the one of the onnx package.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.errors import ResourceValidationError, translated

FLOAT, UINT8, INT32, INT64, FLOAT16 = 1, 2, 6, 7, 10
TYPE_NAMES = {FLOAT: "float32", UINT8: "uint8", INT32: "int32", INT64: "int64", FLOAT16: "float16"}
MAX_FIELDS = 4_000_000
MAX_VALUE_BYTES = 64 * 1024
# Exports name one file; more than two are refused later, by name.
MAX_FILES = 1000
# Messages within messages that a protobuf parser takes by default.
MAX_DEPTH = 100
# Its body is a file that a device's compiler wrote, named in an attribute or held as bytes.
COMPILED = "EPContext"

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


class Message(Enum):
    """The messages of onnx.proto through which a tensor can be reached."""

    MODEL = auto()
    TRAINING = auto()
    FUNCTION = auto()
    GRAPH = auto()
    NODE = auto()
    ATTRIBUTE = auto()
    SPARSE = auto()
    TENSOR = auto()


# By message: in which fields the next ones lie.
INSIDE: dict[Message, dict[int, Message]] = {
    Message.MODEL: {7: Message.GRAPH, 20: Message.TRAINING, 25: Message.FUNCTION},
    Message.TRAINING: {1: Message.GRAPH, 2: Message.GRAPH},
    Message.FUNCTION: {7: Message.NODE, 11: Message.ATTRIBUTE},
    Message.GRAPH: {1: Message.NODE, 5: Message.TENSOR, 15: Message.SPARSE},
    Message.NODE: {5: Message.ATTRIBUTE},
    Message.ATTRIBUTE: {
        5: Message.TENSOR,
        6: Message.GRAPH,
        10: Message.TENSOR,
        11: Message.GRAPH,
        22: Message.SPARSE,
        23: Message.SPARSE,
    },
    Message.SPARSE: {1: Message.TENSOR, 2: Message.TENSOR},
    Message.TENSOR: {},
}


class DamagedError(Exception):
    """The bytes are not protobuf, or end too early."""


class WireReader:
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
                raise DamagedError(f"more than {MAX_FIELDS:,} fields")
            key, at = self._varint(at, end)
            number, kind = key >> 3, key & 7
            if not 0 < key < 1 << 32 or number == 0:
                # Parsers differ in what they make of such a key.
                raise DamagedError(f"a field's key is {key}")
            if kind == _BYTES:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise DamagedError("it ends in the middle of a field")
                yield number, at, at + length
                at += length
            elif kind == _VARINT:
                value, at = self._varint(at, end)
                yield number, value, -1
            elif kind in {_FIXED64, _FIXED32}:
                at += 8 if kind == _FIXED64 else 4
                if at > end:
                    raise DamagedError("it ends in the middle of a field")
            else:
                raise DamagedError(f"wire type {kind} is not protobuf")

    def numbers(self, start: int, end: int) -> Iterator[int]:
        """Yield the varints that are packed in a field."""
        while start < end:
            value, start = self._varint(start, end)
            yield value

    def text(self, start: int, end: int) -> str:
        """Return a field as UTF-8, bounded."""
        if end - start > MAX_VALUE_BYTES:
            raise DamagedError(f"a name is longer than {MAX_VALUE_BYTES:,} bytes")
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
        raise DamagedError("it ends in the middle of a number")


@contextmanager
def _mapped(path: Path) -> Iterator[tuple[WireReader, int]]:
    """Yield what reads a model's file where it lies, and its length in bytes."""
    try:
        with (
            translated(path, "reading"),
            open_regular(path) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            yield WireReader(data), len(data)
    except (DamagedError, ValueError) as error:
        raise _unusable(path, error) from error


def read_graph(path: Path) -> Graph:
    """Return a graph's inputs (weights left out), outputs and external files.

    Raises ResourceValidationError when the file is not an ONNX model.
    """
    with _mapped(path) as (reader, size):
        return _walk_model(reader, size)


def operators(path: Path) -> frozenset[str]:
    """Return the operators that a graph uses, in branches and functions too; weights are skipped.

    Raises ResourceValidationError when the file is not an ONNX model.
    """
    with _mapped(path) as (reader, size):
        return frozenset(_operators(reader, Message.MODEL, 0, size))


def _operators(
    reader: WireReader, message: Message, start: int, end: int, depth: int = 1
) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise DamagedError(f"it is nested more than {MAX_DEPTH} deep")
    for number, s, e in reader.fields(start, end):
        if e < 0:
            continue
        if message is Message.NODE and number == 4:
            yield reader.text(s, e)
        inside = INSIDE[message].get(number)
        if inside not in {None, Message.TENSOR, Message.SPARSE}:
            assert inside is not None
            yield from _operators(reader, inside, s, e, depth + 1)


def _unusable(path: Path, error: Exception) -> ResourceValidationError:
    return ResourceValidationError(
        f"{path.name} is not an ONNX model that can be used: {error}.",
        remedy="Export the model anew; this file was damaged before its digest was recorded.",
        file=str(path),
    )


def _walk_model(reader: WireReader, size: int) -> Graph:
    graphs = [(s, e) for number, s, e in reader.fields(0, size) if number == 7 and e >= 0]
    if len(graphs) != 1:
        raise DamagedError(f"it holds {len(graphs)} graphs")
    graph, weights = Graph(), set()
    for number, start, end in reader.fields(*graphs[0]):
        if end < 0:
            continue
        if number == 5:
            weights |= {reader.text(s, e) for _, s, e in _only(reader, start, end, 8)}
        elif number == 11:
            graph.inputs.append(_value(reader, start, end))
        elif number == 12:
            graph.outputs.append(_value(reader, start, end))
    # Graphs of the first versions list their weights among the inputs.
    graph.inputs = [value for value in graph.inputs if value.name not in weights]
    for name in _files_named(reader, Message.MODEL, 0, size):
        graph.external_files.add(name)
        if len(graph.external_files) > MAX_FILES:
            raise DamagedError(f"it names more than {MAX_FILES} files")
    return graph


def _files_named(
    reader: WireReader, message: Message, start: int, end: int, depth: int = 1
) -> Iterator[str]:
    """Yield every location that a tensor anywhere in a message names."""
    if depth > MAX_DEPTH:
        raise DamagedError(f"it is nested more than {MAX_DEPTH} deep")
    inside = INSIDE[message]
    for number, s, e in reader.fields(start, end):
        if e < 0:
            continue
        if number in inside:
            yield from _files_named(reader, inside[number], s, e, depth + 1)
        elif message is Message.TENSOR and number == 13:
            yield from _location(reader, s, e)
        elif message is Message.NODE and number == 4 and reader.text(s, e) == COMPILED:
            raise DamagedError(
                f"it holds a node {COMPILED}, compiled for one device, which may read files"
            )


def _location(reader: WireReader, start: int, end: int) -> set[str]:
    """Return the file of one StringStringEntryProto: key = 1, value = 2; of several the last."""
    pair = {n: reader.text(s, e) for n, s, e in reader.fields(start, end) if e >= 0}
    return {pair.get(2, "")} if pair.get(1) == "location" else set()


def _value(reader: WireReader, start: int, end: int) -> Value:
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


def _dimension(reader: WireReader, start: int, end: int) -> int | None:
    """Dimension: dim_value = 1, else a name or nothing: open."""
    values = [
        value for number, value, kind in reader.fields(start, end) if number == 1 and kind < 0
    ]
    return values[0] if values and values[0] > 0 else None


def _only(reader: WireReader, start: int, end: int, wanted: int) -> Iterator[tuple[int, int, int]]:
    return (f for f in reader.fields(start, end) if f[0] == wanted and f[2] >= 0)
