"""A label matrix as int8 codes with per-row bounds of what the codes lose.

Built block by block from a memory-mapped matrix. Each unit row x is written as
x = centre + scale * (code + fine / 15) + rest; the lengths of what is lost are kept, and with them
every error of a product of the codes can be bounded. Called by `scorers` and `close_rows`.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_resources.arrays import map_npy
from lumen_resources.json_text import read_meta
from lumen_resources.labels.rows import refuse_wrong_rows
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel, folder_name

BLOCK_ROWS = 4096
_VERSION = 2
# The centre is the mean of rows from so many places, each a run: the rows of a matrix that lies on
# its side are read by pages of its columns.
_PLACES, _RUN = 16, 512
_LEVELS = 127
# What is left of a component is at most half a level: 4 bits make 15 parts of it.
_FINE_LEVELS = 7
_META = "meta.json"


@dataclass(frozen=True, slots=True)
class CodeCache:
    """Where codes may be kept; `key` names the matrix they belong to."""

    folder: Path
    key: str

    @classmethod
    def of(cls, model: VerifiedModel, files: LabelSetFiles) -> Self:
        """Return where the codes of a label set's matrix are kept, and under which key.

        A shipped matrix is known by its digest, a computed one by what it was computed from.
        """
        computed = (model.digest, files.digest, files.template, str(files.taxonomic))
        depends_on = (files.name, *((files.embeddings_digest,) if files.embeddings else computed))
        return cls(
            folder=model.cache / "codes" / folder_name(files.name),
            key=hashlib.sha256("\n".join(depends_on).encode()).hexdigest(),
        )

    def holds(self) -> bool:
        """Whether codes of this key are there, as far as their meta file says."""
        said = read_meta(self.folder / _META)
        return (said.get("version"), said.get("key")) == (_VERSION, self.key)


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of N rows of dimension D.

    `codes` int8 [N, D]; `scales`, `lengths` (of scale * code) and `rests` (of what is lost by the
    code alone), float32 [N], the last two upper bounds; `centre` float32 [D], about the mean row:
    what all labels share would waste most of the eight bits.
    `fine` uint8 [N, ceil(D / 2)], two halves of a byte for two components, and `fine_rests` what is
    lost by code and fine together: only where reading a row itself costs a page for each of its
    components, else of no columns.
    """

    codes: NDArray[np.int8]
    fine: NDArray[np.uint8]
    scales: NDArray[np.float32]
    lengths: NDArray[np.float32]
    rests: NDArray[np.float32]
    fine_rests: NDArray[np.float32]
    centre: NDArray[np.float32]

    def decoded(self, rows: NDArray[np.intp] | slice) -> NDArray[np.float32]:
        """Return some rows [n, D] as code and fine have them; wrong by their `fine_rests`."""
        codes, packed = np.asarray(self.codes[rows]), np.asarray(self.fine[rows])
        parts = np.empty((len(codes), 2 * packed.shape[1]), np.float32)
        parts[:, ::2] = packed >> 4
        parts[:, 1::2] = packed & 15
        found = parts[:, : codes.shape[1]]
        found -= np.float32(_FINE_LEVELS)
        found /= np.float32(2 * _FINE_LEVELS + 1)
        found += codes
        found *= self.scales[rows][:, None]
        found += self.centre
        return found


_SHAPES = {
    "codes": ("rows", "dim"),
    "fine": ("rows", "half"),
    "scales": ("rows",),
    "lengths": ("rows",),
    "rests": ("rows",),
    "fine_rests": ("rows",),
    "centre": ("dim",),
}
_DTYPES = {"codes": np.int8, "fine": np.uint8}
_FLOATS = tuple(name for name in _SHAPES if name not in _DTYPES)


def is_on_its_side(matrix: NDArray[np.floating]) -> bool:
    """Whether the components of a row lie far apart, as in a file [D, N] seen as [N, D]."""
    return abs(matrix.strides[1]) > abs(matrix.strides[0])


def unit_blocks(matrix: NDArray[np.floating]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield (rows, unit rows float32) block by block; a memory map is never read at once.

    A unit row is wrong by a length of no more than `rounding(D)`. Raises WrongRowError for a row
    that no query can be compared with.
    """
    for start in range(0, len(matrix), BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, len(matrix))
        yield slice(start, stop), _unit_rows(matrix, start, stop)


def _unit_rows(matrix: NDArray[np.floating], start: int, stop: int) -> NDArray[np.float32]:
    block = np.ascontiguousarray(matrix[start:stop], np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
    refuse_wrong_rows(lengths, range(start, stop))
    unit: NDArray[np.float32] = block / lengths[:, None]
    return unit


def rounding(dim: int) -> float:
    """Return a bound of the relative error of a float32 sum of `dim` products, in any order."""
    return (dim + 8) * 2.0**-24


def encode(matrix: NDArray[np.floating], folder: Path | None = None) -> Codes:
    """Return the codes of a matrix [N, D]; needs some blocks of memory beside the result.

    With a folder the arrays are memory-mapped files in it.
    """
    made = Codes(**{name: _array(name, matrix, folder) for name in _SHAPES})
    made.centre[...] = _centre(matrix)
    for at, block in unit_blocks(matrix):
        _encode_block(block, at, made)
    return made


def _array(name: str, matrix: NDArray[np.floating], folder: Path | None) -> NDArray[Any]:
    shape, dtype = _shape(name, matrix), _DTYPES.get(name, np.float32)
    if folder is None:
        return np.zeros(shape, dtype)
    path = _file(folder, name)
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        # Writing to a map of a file with holes, on a disk that is full, ends the process.
        os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
    return array


def _shape(name: str, matrix: NDArray[np.floating]) -> tuple[int, ...]:
    rows, dim = matrix.shape
    half = (dim + 1) // 2 if is_on_its_side(matrix) else 0
    sizes = {"rows": rows, "dim": dim, "half": half}
    return tuple(sizes[side] for side in _SHAPES[name])


def _centre(matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return about the mean row: any is right, so some thousand rows from all over will do."""
    run = min(_RUN, len(matrix))
    starts = np.linspace(0, len(matrix) - run, _PLACES).astype(int).tolist()
    means = [_unit_rows(matrix, at, at + run).mean(axis=0, dtype=np.float64) for at in starts]
    centre: NDArray[np.float32] = np.mean(means, axis=0).astype(np.float32)
    return centre


def _encode_block(block: NDArray[np.float32], at: slice, into: Codes) -> None:
    """Write the codes of some unit rows."""
    left = block - into.centre
    scale = np.maximum(np.abs(left).max(axis=1), np.float32(1e-30)) / np.float32(_LEVELS)
    levels = left / scale[:, None]
    np.rint(levels, out=levels)
    into.codes[at] = levels
    np.multiply(levels, scale[:, None], out=levels)
    into.scales[at] = scale
    into.lengths[at] = _lengths(levels)
    np.subtract(left, levels, out=left)
    # And the float32 rounding of the unit row and of these steps, which the rest does not see.
    unseen = np.float32(rounding(block.shape[1]) + 1e-6)
    into.rests[at] = _lengths(left) + unseen
    if into.fine.shape[1]:
        into.fine[at] = _packed(left / scale[:, None])
        into.fine_rests[at] = _lengths(block - into.decoded(at)) + unseen


def _packed(parts: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return what is left of each component, -1/2 to 1/2 of a level, as halves of bytes."""
    levels = np.rint(parts * np.float32(2 * _FINE_LEVELS + 1))
    np.clip(levels, -_FINE_LEVELS, _FINE_LEVELS, out=levels)
    halves = np.zeros((len(parts), parts.shape[1] + parts.shape[1] % 2), np.uint8)
    halves[:, : parts.shape[1]] = levels + _FINE_LEVELS
    packed: NDArray[np.uint8] = halves[:, ::2] << np.uint8(4) | halves[:, 1::2]
    return packed


def _lengths(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lengths of rows, widened by more than a float32 sum of that many can lose."""
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return lengths * np.float32(1 + rounding(block.shape[1]))


def encode_cached(matrix: NDArray[np.floating], cache: CodeCache | None) -> Codes:
    """Return the codes, from the cache when it holds those of this key; else make and keep them.

    A cache that cannot be written (the server's is read-only) costs the time of making them.
    """
    if cache is None:
        return encode(matrix)
    found = _read(cache, matrix)
    if found is None:
        with suppress(OSError):
            _write(cache, matrix)
            found = _read(cache, matrix)
    return found or encode(matrix)


def _read(cache: CodeCache, matrix: NDArray[np.floating]) -> Codes | None:
    """Return memory-mapped codes, or None when there are none for this key."""
    try:
        if read_meta(cache.folder / _META) != _meta(cache, matrix):
            return None
        arrays = {name: map_npy(_file(cache.folder, name)) for name in _SHAPES}
    except (OSError, ValueError):
        return None
    if not all(
        array.shape == _shape(name, matrix) and array.dtype == _DTYPES.get(name, np.float32)
        for name, array in arrays.items()
    ):
        return None
    # Codes of rows that were not looked at when they were made.
    return Codes(**arrays) if all(np.isfinite(arrays[name]).all() for name in _FLOATS) else None


def _write(cache: CodeCache, matrix: NDArray[np.floating]) -> None:
    """Make the arrays beside, and put them into place; without the meta file they are not read."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=cache.folder) as made:
        encode(matrix, Path(made))
        (cache.folder / _META).unlink(missing_ok=True)
        for name in _SHAPES:
            _file(Path(made), name).replace(_file(cache.folder, name))
        (Path(made) / _META).write_bytes(orjson.dumps(_meta(cache, matrix)))
        (Path(made) / _META).replace(cache.folder / _META)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def _meta(cache: CodeCache, matrix: NDArray[np.floating]) -> dict[str, object]:
    return {"version": _VERSION, "key": cache.key, "shape": list(matrix.shape)}
