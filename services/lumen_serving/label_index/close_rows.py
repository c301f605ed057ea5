"""The few rows of a matrix that may be among the best, read where they lie.

`Narrowing` first leaves most of them out by their codes, a quarter of their bytes.
`FileRows` reads rows that lie in one piece. `CodedRows` is for a matrix that lies on its side, as
published ones do: a row is a number from each of its columns, a page of memory each. Its codes
leave a handful of rows in doubt, and those alone are read there. Called by `index` and `query`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lumen_serving.label_index.codes import Codes, rounding

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.intp]

# So many rows at a time, so that the memory stays bounded.
_GATHERED = 4096
# Of so few there is nothing to gain.
_FEW = 64


class CandidateRows(Protocol):
    """Rows of a matrix [N, D], by number, beside a unit query [D]."""

    @property
    def most_exact(self) -> int:
        """How many rows may be asked for exactly where close ones would do."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes in this process, without memory maps."""
        ...

    def close(self, rows: Rows, query: Floats) -> tuple[Doubles, Doubles | float]:
        """Return cosines [n], and by how much each may be wrong at most."""
        ...

    def exact(self, rows: Rows, query: Floats) -> Doubles:
        """Return float64 cosines [n]; equal rows get equal bits."""
        ...


class Narrowing:
    """The codes of some rows beside a query as it is: what the quantised one lost is not in doubt.

    Reading a row's code takes a quarter of the time of reading the row.
    """

    def __init__(self, codes: Codes) -> None:
        self._codes = codes
        self._scales = np.asarray(codes.scales)
        self._errors = np.asarray(codes.rests) + np.float32(2 * rounding(len(codes.centre)) + 1e-6)
        self._centre = codes.centre.astype(np.float64)

    def still_reaching(self, rows: Rows, query: Floats, k: int) -> Rows:
        """Return those of the rows that may be among the k best."""
        if len(rows) <= max(k, _FEW):
            return rows

        def score(some: Rows) -> Doubles:
            levels = np.asarray(self._codes.codes[some]).astype(np.float32)
            return np.asarray(self._scales[some] * np.vecdot(levels, query), np.float64)

        cosines = _in_pieces(score, rows) + query.astype(np.float64) @ self._centre
        errors = self._errors[rows]
        lower = cosines - errors
        floor = np.partition(lower, len(rows) - k)[len(rows) - k]
        left: Rows = rows[cosines + errors >= floor]
        return left


class FileRows:
    """Rows that lie in one piece each."""

    most_exact = 20_000
    held_bytes = 0

    def __init__(self, matrix: NDArray[np.floating]) -> None:
        self._matrix = np.asarray(matrix)
        self._error = 2 * rounding(matrix.shape[1])

    def close(self, rows: Rows, query: Floats) -> tuple[Doubles, Doubles | float]:
        """Return the cosines in float32, in a quarter of the time of exact ones."""
        return _in_pieces(lambda some: close_cosines(self._matrix[some], query), rows), self._error

    def exact(self, rows: Rows, query: Floats) -> Doubles:
        """Return the cosines in float64."""
        return _in_pieces(lambda some: exact_cosines(self._matrix[some], query), rows)


class CodedRows:
    """Rows whose components lie far apart: close by their codes, exact from the columns."""

    # 20,000 would take some tenths of a second.
    most_exact = 1000

    def __init__(self, matrix: NDArray[np.floating], codes: Codes) -> None:
        self._columns = np.asarray(matrix).T
        self._codes = codes
        self._rests = np.asarray(codes.fine_rests)
        self._rounding = 2 * rounding(matrix.shape[1])

    @property
    def held_bytes(self) -> int:
        """Bytes of codes that no cache could keep."""
        arrays = (self._codes.codes, self._codes.fine)
        return sum(array.nbytes for array in arrays if not isinstance(array, np.memmap))

    def close(self, rows: Rows, query: Floats) -> tuple[Doubles, Doubles | float]:
        """Return the cosines of what code and fine say."""

        def score(some: Rows) -> Doubles:
            return np.asarray(np.vecdot(self._codes.decoded(some), query), np.float64)

        return _in_pieces(score, rows), self._rests[rows].astype(np.float64) + self._rounding

    def exact(self, rows: Rows, query: Floats) -> Doubles:
        """Return the cosines in float64."""

        def score(some: Rows) -> Doubles:
            # In one piece each, so that they are summed in the same order as anywhere else.
            return exact_cosines(np.ascontiguousarray(self._columns[:, some].T), query)

        return _in_pieces(score, rows)


def _in_pieces(score: Callable[[Rows], Doubles], rows: Rows) -> Doubles:
    parts: Sequence[Doubles] = [
        score(rows[at : at + _GATHERED]) for at in range(0, len(rows), _GATHERED)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float64)


def exact_cosines(rows: NDArray[np.floating], query: NDArray[np.floating]) -> Doubles:
    """Return float64 cosines [n] of rows [n, D] and a unit query; equal rows get equal bits."""
    wide = np.asarray(rows, np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    cosines: Doubles = np.einsum("ij,j->i", wide, query.astype(np.float64)) / lengths
    return cosines


def close_cosines(rows: NDArray[np.floating], query: Floats) -> Doubles:
    """Return the same, wrong by no more than 2 * rounding(D) and in a quarter of the time."""
    single = np.asarray(rows, np.float32)
    lengths = np.sqrt(np.vecdot(single, single))
    cosines: Doubles = (np.vecdot(single, query) / lengths).astype(np.float64)
    return cosines
