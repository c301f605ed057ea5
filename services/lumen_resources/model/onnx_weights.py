"""Takes the large weights out of an ONNX graph, and says where in which file each lies.

A library that reads weights with the graph keeps them in memory of its own; weights that a caller
maps from the file are the system's, which shares them among processes and drops them when it must.
In the new graph each such weight is an input of the same name, for the caller to fill. Weights that
lie in files beside the graph are found as well, and small ones are put into the graph.
"""

import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.model.onnx_graph import FLOAT, FLOAT16, DamagedError, WireReader

# Smaller ones are not worth an input of their own.
_LEAST_BYTES = 64 * 1024
_INLINE_MAX_BYTES = 64 * 1024 * 1024
# No library takes more edges; the product of a million of them would be computed for hours.
_MOST_EDGES = 64
_ITEM_BYTES = {FLOAT: 4, FLOAT16: 2}
_VARINT, _BYTES = 0, 2
_GRAPH, _INITIALIZER, _INPUT = 7, 5, 11
# Of TensorProto.
_DIMS, _TYPE, _NAME, _RAW, _OUTSIDE, _WHERE = 1, 2, 8, 9, 13, 14


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """Numbers of one weight in a file: `element_type` as ONNX counts them, little-endian."""

    file: Path
    offset: int
    shape: tuple[int, ...]
    element_type: int


@dataclass(frozen=True, slots=True)
class ThinGraph:
    """A graph without its large weights, which are inputs of these names now."""

    graph: bytes
    weights: Mapping[str, StoredWeight]


@dataclass(slots=True)
class _Tensor:
    """The fields of a TensorProto that matter, and the others as they are."""

    shape: list[int] = field(default_factory=list)
    element_type: int = 0
    name: str = ""
    raw: tuple[int, int] | None = None
    outside: dict[str, str] = field(default_factory=dict)
    kept: list[bytes] = field(default_factory=list)


def without_weights(path: Path) -> ThinGraph | None:
    """Return the graph of a file without its large weights, and with its small ones.

    None when that is the graph as it is. None as well for a graph that is damaged or names what is
    not there: whoever reads it whole then says so.
    """
    try:
        with (
            open_regular(path) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _Thinner(data, path).thin()
    except (DamagedError, OSError, ValueError):
        return None


class _Thinner:
    """Copies fields as they are, but for the weights of the graph itself."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data, self._path = data, path
        self._reader = WireReader(data)
        self._weights: dict[str, StoredWeight] = {}
        self._inlined_bytes = 0

    def thin(self) -> ThinGraph | None:
        graph = self._copied(0, len(self._data), _GRAPH, self._graph)
        changed = self._weights or self._inlined_bytes
        return ThinGraph(graph, self._weights) if changed else None

    def _graph(self, start: int, end: int) -> bytes:
        listed = {
            self._reader.text(s, e)
            for number, first, last in self._reader.fields(start, end)
            if number == _INPUT and last >= 0
            for inner, s, e in self._reader.fields(first, last)
            if inner == 1 and e >= 0
        }
        copied = self._copied(start, end, _INITIALIZER, self._tensor)
        inputs = [
            _delimited(_INPUT, _declared(name, weight))
            for name, weight in self._weights.items()
            # Graphs of the first versions list their weights among the inputs.
            if name not in listed
        ]
        return b"".join([copied, *inputs])

    def _copied(
        self, start: int, end: int, opened: int, content: Callable[[int, int], bytes | None]
    ) -> bytes:
        """Return a message whose fields of the number `opened` have other contents, or are gone."""
        parts = []
        for number, s, e in self._reader.fields(start, end):
            if number != opened or e < 0:
                parts.append(_field(number, self._data, s, e))
            elif (changed := content(s, e)) is not None:
                parts.append(_delimited(number, changed))
        return b"".join(parts)

    def _tensor(self, start: int, end: int) -> bytes | None:
        """Return an initialiser as it stays in the graph; None when it became an input."""
        tensor = self._read(start, end)
        file, offset, length = self._place(tensor)
        count = math.prod(tensor.shape)
        if length >= _LEAST_BYTES and length == count * _ITEM_BYTES.get(tensor.element_type, 0):
            shape = tuple(tensor.shape)
            self._weights[tensor.name] = StoredWeight(file, offset, shape, tensor.element_type)
            return None
        if not tensor.outside:
            return bytes(self._data[start:end])
        self._inlined_bytes += length
        if self._inlined_bytes > _INLINE_MAX_BYTES:
            raise ValueError("too much would be put into the graph")
        with open_regular(file) as beside:
            beside.seek(offset)
            raw = beside.read(length)
        return b"".join([*tensor.kept, _delimited(_RAW, raw)])

    def _read(self, start: int, end: int) -> _Tensor:
        tensor = _Tensor()
        for number, s, e in self._reader.fields(start, end):
            if number == _DIMS:
                edges = self._reader.numbers(s, e) if e >= 0 else (s,)
                tensor.shape += islice(edges, _MOST_EDGES + 1)
                if len(tensor.shape) > _MOST_EDGES:
                    raise ValueError("a weight has more edges than any library takes")
            elif number == _TYPE and e < 0:
                tensor.element_type = s
            elif number == _NAME and e >= 0:
                tensor.name = self._reader.text(s, e)
            elif number == _RAW and e >= 0:
                tensor.raw = (s, e)
                continue
            elif number == _OUTSIDE and e >= 0:
                pair = {n: self._reader.text(a, b) for n, a, b in self._reader.fields(s, e)}
                tensor.outside[pair.get(1, "")] = pair.get(2, "")
                continue
            elif number == _WHERE:
                continue
            tensor.kept.append(_field(number, self._data, s, e))
        return tensor

    def _place(self, tensor: _Tensor) -> tuple[Path, int, int]:
        """Return in which file a weight lies, from where on, and how many bytes it has."""
        if not tensor.outside:
            start, end = tensor.raw or (0, 0)
            return self._path, start, end - start
        location = tensor.outside.get("location", "")
        if not location or "/" in location or "\\" in location:
            raise ValueError("a weight lies elsewhere than beside the graph")
        file = self._path.with_name(location)
        size = file.stat().st_size
        offset = int(tensor.outside.get("offset", "0"))
        length = int(tensor.outside.get("length", size - offset))
        if not 0 <= offset <= offset + length <= size:
            raise ValueError("a weight ends behind its file")
        return file, offset, length


def _declared(name: str, weight: StoredWeight) -> bytes:
    """ValueInfoProto: name = 1, type = 2; TypeProto.tensor_type = 1: elem_type = 1, shape = 2."""
    edges = [_delimited(1, _key(1, _VARINT) + _varint(edge)) for edge in weight.shape]
    kind = _key(1, _VARINT) + _varint(weight.element_type)
    tensor = kind + _delimited(2, b"".join(edges))
    return _delimited(1, name.encode()) + _delimited(2, _delimited(1, tensor))


def _field(number: int, data: mmap.mmap, start: int, end: int) -> bytes:
    if end < 0:
        return _key(number, _VARINT) + _varint(start)
    return _delimited(number, data[start:end])


def _delimited(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
