"""Quick scores of a whole label set, each with a bound of its error.

`FloatScorer` for small sets, `IntegerScorer` for large ones. Both give, for each unit row of
queries [Q, D], an `Approximation`, whose scores may be written to and are good until the next one
is asked for; `index` turns it into a proven answer. Their `lengths` and `rests`, float32 [N],
bound the errors. All arithmetic of a query is its own, so that an answer does not depend on the
other queries of a batch.
"""

import mmap
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumen_serving.graphs import ort
from lumen_serving.label_index.codes import Codes, rounding, unit_blocks
from lumen_serving.label_index.onnx_matmul import CODES, QUERY, SCALES, SCORES, integer_product

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
# More at once is no quicker for a query, and 450,000 x 16 scores are 29 MB.
_QUERIES_AT_ONCE = 32
_TURNED_AT_ONCE = 1024
# The product's own rounding, to float32 and by the scale, relative to the largest it can be.
_ROUNDING = 2.0**-21


@dataclass(frozen=True, slots=True)
class Approximation:
    """cosine of row r = scale * scores[r] + offset, wrong by no more than scale * error(r).

    error(r) = by_length * lengths[r] + by_rest * rests[r], the arrays being the scorer's.
    `coarse` says that `refined` would narrow it.
    """

    scores: Floats
    scale: float
    offset: float
    by_length: float
    by_rest: float
    coarse: bool = False


class FloatScorer:
    """The product in float32: a few thousand rows take less time than anything cleverer."""

    def __init__(self, matrix: NDArray[np.floating]) -> None:
        rows, dim = matrix.shape
        self._units = np.empty((rows, dim), np.float32)
        for at, block in unit_blocks(matrix):
            self._units[at] = block
        self.lengths = np.ones(rows, np.float32)
        self.rests = np.zeros(rows, np.float32)
        # Of a sum of `dim` products in any order, and of rounding the unit rows; doubled.
        self._error = 2.0 * rounding(dim)

    def approximate(self, queries: Floats) -> Iterator[Approximation]:
        """Score the queries one by one: a product of several adds up in another order."""
        for query in queries:
            yield Approximation(self._units @ query, 1.0, 0.0, self._error, 0.0)

    def refined(self, query: Floats, first: Approximation) -> Approximation:
        """Return the first one, which is never coarse."""
        del query
        return first

    @property
    def resident_bytes(self) -> int:
        """Bytes of the float32 rows and the bounds."""
        return self._units.nbytes + self.lengths.nbytes + self.rests.nbytes


class IntegerScorer:
    """The product of int8 codes by ONNX Runtime, which reads a quarter of the bytes.

    The runtime packs the codes into a copy of its own, of their size, and what it was given can
    then be given back.
    """

    def __init__(self, codes: Codes, threads: int) -> None:
        self._levels, zero_point = _query_levels()
        self._zero_point = np.float32(zero_point)
        self._centre = codes.centre.astype(np.float64)
        self._buffers = threading.local()
        # Plain views: numpy's memmap class costs more than small gathers themselves.
        self.lengths, self.rests = np.asarray(codes.lengths), np.asarray(codes.rests)
        rows, dim = codes.codes.shape
        # Of its own, private pages: only such can be given back.
        self._turned = mmap.mmap(-1, rows * dim, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        turned = np.frombuffer(self._turned, np.int8).reshape(dim, rows)
        _turn(codes.codes, turned)
        self._scales = np.asarray(codes.scales)
        self._session = ort.Session(
            integer_product(rows, dim, zero_point),
            ort.SessionSettings(
                threads=threads, initializers={CODES: turned, SCALES: self._scales}
            ),
        )
        self.packed_bytes = turned.nbytes
        self._kept_bytes = 0 if self._gives_back() else turned.nbytes
        if self._kept_bytes:
            _turn(codes.codes, turned)

    def _gives_back(self) -> bool:
        """Give the codes' pages back, and say whether the runtime does without them.

        They read as zeros from then on: the same answer means that it has a copy.
        """
        dim = len(self._turned) // len(self.lengths)
        query = {QUERY: (np.arange(dim)[None] % (2 * self._levels)).astype(np.uint8)}
        (before,) = self._session.run([SCORES], query)
        self._turned.madvise(mmap.MADV_DONTNEED)
        (after,) = self._session.run([SCORES], query)
        return bool(np.array_equal(before, after))

    def approximate(self, queries: Floats) -> Iterator[Approximation]:
        """Score the queries some at a time; integer sums are exact in any order."""
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            some = queries[start : start + _QUERIES_AT_ONCE]
            levels, steps = self._quantised(some)
            rests = some - levels * steps[:, None]
            product = self._product(levels, into="coarse")
            yield from self._bounded(some, product, steps, rests, coarse=True)

    def refined(self, query: Floats, first: Approximation) -> Approximation:
        """Add the product of what the first quantisation of the query lost."""
        levels, steps = self._quantised(query[None])
        rest = query[None] - levels * steps
        fine, fine_steps = self._quantised(rest)
        scores = self._product(fine, into="fine")
        scores *= np.float32(fine_steps[0] / first.scale)
        scores += first.scores
        left = rest - fine * fine_steps
        (narrow,) = self._bounded(query[None], scores, steps, left, coarse=False)
        return narrow

    @property
    def resident_bytes(self) -> int:
        """Bytes of the scales and bounds, and of codes that could not be given back."""
        bounds = (self._scales, self.lengths, self.rests)
        return self._kept_bytes + sum(array.nbytes for array in bounds)

    def _quantised(self, queries: Floats) -> tuple[Floats, Floats]:
        """Return whole levels [Q, D] within the range, and the step of each query [Q]."""
        steps = np.maximum(np.abs(queries).max(axis=1), np.float32(1e-30)) / self._levels
        return np.rint(queries / steps[:, None]), steps

    def _product(self, levels: Floats, into: str) -> Floats:
        """Return scores [Q, N] in a buffer of this thread: fresh pages would cost as much."""
        rows = len(self.lengths)
        buffer: Floats | None = getattr(self._buffers, into, None)
        if buffer is None or len(buffer) < len(levels):
            buffer = np.empty((len(levels), rows), np.float32)
            setattr(self._buffers, into, buffer)
        shifted = (levels + self._zero_point).astype(np.uint8)
        scores = buffer[: len(levels)]
        self._session.run_into(SCORES, scores, {QUERY: shifted})
        return scores

    def _bounded(
        self, queries: Floats, scores: Floats, steps: Floats, rests: Floats, *, coarse: bool
    ) -> Iterator[Approximation]:
        """Cosine - offset = (codes + rests) . (quantised + rest): two products are left out."""
        wide = queries.astype(np.float64)
        lengths = _lengths(wide) * (1 + 1e-6)
        lost = _lengths(rests.astype(np.float64)) * (1 + 1e-5) + 1e-6
        offsets = np.einsum("ij,j->i", wide, self._centre)
        by_length = (lost + _ROUNDING * (lengths + lost)) / steps
        numbers = np.stack([steps, offsets, by_length, lengths / steps], axis=1)
        for row, (scale, offset, length, rest) in zip(scores, numbers.tolist(), strict=True):
            yield Approximation(row, scale, offset, length, rest, coarse)


def _turn(codes: NDArray[np.int8], into: NDArray[np.int8]) -> None:
    """Write [N, D] as [D, N], some rows at a time so that they stay in the cache."""
    for at in range(0, len(codes), _TURNED_AT_ONCE):
        into[:, at : at + _TURNED_AT_ONCE] = codes[at : at + _TURNED_AT_ONCE].T


def _lengths(rows: Doubles) -> Doubles:
    lengths: Doubles = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths


Scorer = FloatScorer | IntegerScorer


def _query_levels() -> tuple[int, int]:
    """Return (largest level, zero point) that this CPU multiplies without saturating.

    CPUs without VNNI add two products of uint8 and int8 in 16 bits and saturate; seven bits of the
    query are safe there. Tried on the largest values, since the kernel is the runtime's choice.
    """
    dim, rows = 64, 32
    codes = np.full((dim, rows), 127, np.int8)
    scales = np.ones(rows, np.float32)
    settings = ort.SessionSettings(threads=1, initializers={CODES: codes, SCALES: scales})
    session = ort.Session(integer_product(rows, dim, 128), settings)
    for count in (1, 2, 16):
        (got,) = session.run([SCORES], {QUERY: np.full((count, dim), 255, np.uint8)})
        if not (got == 127 * 127 * dim).all():
            return 63, 64
    return 127, 128
