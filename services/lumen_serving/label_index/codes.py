"""A label matrix as int8 codes with per-row bounds of what the codes lose.

Built block by block from a memory-mapped matrix. Each unit row x is written as
x = centre + scale * code + rest; the length of `rest` is kept, and with it every error of an
integer product can be bounded. Called by `scorers`.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.arrays import map_npy
from lumen_resources.labels.rows import refuse_wrong_rows

BLOCK_ROWS = 4096
_VERSION = 1
_SAMPLED_ROWS = 8192
_LEVELS = 127
_META_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CodeCache:
    """Where codes may be kept; `key` names the matrix they belong to."""

    folder: Path
    key: str


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of N rows of dimension D.

    `codes` int8 [D, N]; `scales`, `lengths` (of scale * code) and `rests` (of what is lost),
    float32 [N], the last two upper bounds; `centre` float32 [D], the mean row: what all labels
    share would waste most of the eight bits.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    lengths: NDArray[np.float32]
    rests: NDArray[np.float32]
    centre: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, name).nbytes for name in _ARRAYS)


_ARRAYS = ("codes", "scales", "lengths", "rests", "centre")


def unit_blocks(
    matrix: NDArray[np.floating], step: int = 1
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield (rows, unit rows float32) block by block; a memory map is never read at once.

    With a `step`, of every so manieth row. A unit row is wrong by a length of no more than
    `rounding(D)`. Raises WrongRowError for a row that no query can be compared with.
    """
    some = matrix[::step]
    for start in range(0, len(some), BLOCK_ROWS):
        block = np.asarray(some[start : start + BLOCK_ROWS], np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        refuse_wrong_rows(lengths, range(start * step, len(matrix), step))
        yield slice(start, start + len(block)), block / lengths[:, None]


def rounding(dim: int) -> float:
    """Return a bound of the relative error of a float32 sum of `dim` products, in any order."""
    return (dim + 8) * 2.0**-24


def encode(matrix: NDArray[np.floating]) -> Codes:
    """Return the codes of a matrix [N, D]; needs some blocks of memory beside the result."""
    rows, dim = matrix.shape
    made = Codes(
        codes=np.empty((dim, rows), np.int8),
        scales=np.empty(rows, np.float32),
        lengths=np.empty(rows, np.float32),
        rests=np.empty(rows, np.float32),
        centre=_centre(matrix),
    )
    for at, block in unit_blocks(matrix):
        _encode_block(block, at, made)
    return made


def _centre(matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return about the mean row: any is right, so some thousand rows from all over will do."""
    step = max(1, len(matrix) // _SAMPLED_ROWS)
    blocks = unit_blocks(matrix, step)
    total = sum((block.sum(axis=0, dtype=np.float64) for _, block in blocks), np.float64(0))
    centre: NDArray[np.float32] = np.asarray(total / len(matrix[::step]), np.float32)
    return centre


def _encode_block(block: NDArray[np.float32], at: slice, into: Codes) -> None:
    """Write the codes of some unit rows; uses up `block`."""
    np.subtract(block, into.centre, out=block)
    scale = np.maximum(np.abs(block).max(axis=1), np.float32(1e-30)) / np.float32(_LEVELS)
    levels = block / scale[:, None]
    np.rint(levels, out=levels)
    into.codes[:, at] = levels.astype(np.int8).T
    np.multiply(levels, scale[:, None], out=levels)
    into.scales[at] = scale
    into.lengths[at] = _lengths(levels)
    np.subtract(block, levels, out=block)
    # And the float32 rounding of the unit row and of these steps, which the rest does not see.
    into.rests[at] = _lengths(block) + np.float32(rounding(block.shape[1]) + 1e-6)


def _lengths(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lengths of rows, widened by more than a float32 sum of that many can lose."""
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return lengths * np.float32(1 + rounding(block.shape[1]))


def encode_cached(matrix: NDArray[np.floating], cache: CodeCache | None) -> Codes:
    """Return the codes, from the cache when it holds those of this key; else make and keep them.

    A cache that cannot be written (the server's is read-only) costs the time of making them.
    """
    found = _read(cache, matrix.shape) if cache else None
    if found is not None:
        return found
    made = encode(matrix)
    if cache is not None:
        with suppress(OSError):
            _write(cache, made)
            return _read(cache, matrix.shape) or made
    return made


def _read(cache: CodeCache, shape: tuple[int, ...]) -> Codes | None:
    """Return memory-mapped codes, or None when there are none for this key."""
    try:
        meta = orjson.loads(read_bounded(cache.folder / "meta.json", _META_BYTES))
        if meta != _meta(cache, shape):
            return None
        arrays = {name: map_npy(cache.folder / f"{name}.npy") for name in _ARRAYS}
    except (OSError, ValueError):
        return None
    rows, dim = shape
    found = Codes(**arrays)
    expected = ((dim, rows), (rows,), (rows,), (rows,), (dim,))
    fits = all(getattr(found, n).shape == e for n, e in zip(_ARRAYS, expected, strict=True))
    if not fits or found.codes.dtype != np.int8:
        return None
    # Codes of rows that were not looked at when they were made.
    return found if all(np.isfinite(getattr(found, n)).all() for n in _ARRAYS[1:]) else None


def _write(cache: CodeCache, codes: Codes) -> None:
    """Put the arrays into place, the meta file last: without it they are not read."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    meta = cache.folder / "meta.json"
    meta.unlink(missing_ok=True)
    for name in (*_ARRAYS, "meta"):
        target = cache.folder / f"{name}.npy" if name != "meta" else meta
        temporary = target.with_suffix(".tmp")
        with temporary.open("wb") as file:
            if name == "meta":
                file.write(orjson.dumps(_meta(cache, codes.codes.shape[::-1])))
            else:
                np.save(file, getattr(codes, name), allow_pickle=False)
        temporary.replace(target)


def _meta(cache: CodeCache, shape: tuple[int, ...]) -> dict[str, object]:
    return {"version": _VERSION, "key": cache.key, "shape": list(shape)}
