"""The best labels of a picture, proven: quick scores of all rows, exact ones where it matters.

A quick score is wrong by no more than a known bound. Every row whose bound reaches into the top k
is scored again exactly, from the memory-mapped matrix, so no row is ever missed. Shares are
divided by the sum over all rows, where rows that were not scored again count by their quick score.
Called by the engine thread; scenes are scored by it as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumen_serving.label_codes import CodeCache, encode_cached
from lumen_serving.label_scorers import Approximation, Floats, FloatScorer, IntegerScorer, Scorer
from lumen_serving.scoring import Groups

# Below, the float32 product is the quicker one.
SMALL_ROWS = 4096
# Rows of a block: the best of each is found first, and most blocks need no second look.
_BLOCK = 32
# Rows at a time in the sum of all, so that they stay in the cache over its steps.
_PIECE = 1 << 15
_LANES = 32
_LOG2_E = float(np.log2(np.e))
# So many exact scores cost as much as narrowing the bounds.
_MANY = 8192
# Rows of the best groups that are scored exactly for a roll-up.
_MOST_MEMBERS = 20_000
_GATHERED = 4096
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hit:
    """A label: its row, the cosine, and its share within the label set in use."""

    row: int
    cosine: float
    share: float


@dataclass(frozen=True, slots=True)
class GroupHit:
    """A taxonomic group: its code, the sum of its labels' shares, its best label's row, cosine."""

    group: int
    share: float
    row: int
    cosine: float


class LabelIndex:
    """A label set's vectors, ready to be compared with unit queries."""

    def __init__(self, matrix: NDArray[np.floating], scorer: Scorer) -> None:
        self._matrix = np.asarray(matrix)
        self._scorer = scorer
        self._length_tops = block_tops(scorer.lengths)
        self._rest_tops = block_tops(scorer.rests)

    @classmethod
    def build(
        cls,
        matrix: NDArray[np.floating],
        *,
        threads: int = 1,
        cache: CodeCache | None = None,
        small_rows: int = SMALL_ROWS,
    ) -> "LabelIndex":
        """Index a matrix [N, D], float32 or float16; it stays in use and should be a memory map.

        Rows need not be of unit length, but none may be zero. `cache` keeps what takes seconds.
        """
        if len(matrix) < small_rows:
            return cls(matrix, FloatScorer(matrix))
        return cls(matrix, IntegerScorer(encode_cached(matrix, cache), threads))

    def __len__(self) -> int:
        return len(self._matrix)

    @property
    def resident_bytes(self) -> int:
        """Bytes of the index in this process, without the memory map."""
        return self._scorer.resident_bytes + self._length_tops.nbytes + self._rest_tops.nbytes

    @property
    def runtime_bytes(self) -> int:
        """Bytes of the packed copy that ONNX Runtime holds beside the codes; 0 for small sets."""
        is_integer = isinstance(self._scorer, IntegerScorer)
        return self._matrix.shape[0] * self._matrix.shape[1] if is_integer else 0

    def top_k(
        self,
        queries: NDArray[np.float32],
        k: int,
        logit_scale: float,
        include: Mask | None = None,
    ) -> list[list[Hit]]:
        """Return the k best labels of each unit query [Q, D], best first, equal ones by row.

        `include` bool [N] restricts the label set; k is clamped to what is left.
        """
        return [
            self._query(query, first, k, logit_scale, include).hits(k)
            for query, first in self._approximated(queries)
        ]

    def top_groups(
        self,
        queries: NDArray[np.float32],
        k: int,
        logit_scale: float,
        groups: Groups,
        include: Mask | None = None,
    ) -> list[list[GroupHit]]:
        """Return the k groups of the largest summed share for each query, best first.

        Members of the groups in question are scored exactly (up to 20,000 rows), the others enter
        by their quick scores: within the set, sums are true to some parts in a thousand.
        """
        return [
            self._query(query, first, 1, logit_scale, include).groups(k, groups)
            for query, first in self._approximated(queries)
        ]

    def _approximated(
        self, queries: NDArray[np.float32]
    ) -> Iterator[tuple[NDArray[np.float32], Approximation]]:
        return zip(queries, self._scorer.approximate(queries), strict=True)

    def _query(
        self,
        query: NDArray[np.float32],
        first: Approximation,
        k: int,
        logit_scale: float,
        include: Mask | None,
    ) -> "_Scored":
        quick, rows = first, self._reaching(first, k, include)
        if quick.coarse and len(rows) > max(_MANY, 2 * k):
            quick = self._scorer.refined(query, first)
            rows = self._reaching(quick, k, include)
        return _Scored(self._matrix, query, quick, logit_scale, include).with_exact(rows)

    def _reaching(self, quick: Approximation, k: int, include: Mask | None) -> NDArray[np.intp]:
        """Return every row that may be among the k best, in row order.

        The k-th largest lower bound is a floor that the k-th best cosine cannot be below; rows
        whose upper bound is below it are out.
        """
        if include is not None:
            # An excluded row's bounds are minus infinity, and it stays so below.
            quick.scores[~include] = -np.inf
        count = len(self) if include is None else int(include.sum())
        if k >= count:
            return np.arange(len(self)) if include is None else np.flatnonzero(include)
        # In float64, and so without rounding that would have to be bounded as well.
        tops = block_tops(quick.scores).astype(np.float64)
        errors = self._errors(quick, self._length_tops, self._rest_tops)
        if k <= len(tops):
            # The best row of each block: k of them are k different rows.
            floor = _kth_largest(tops - errors, k)
        else:
            floor = _kth_largest(quick.scores - self._row_errors(quick), k)
        rows = rows_of_blocks(np.flatnonzero(tops + errors >= floor), len(self))
        upper = quick.scores[rows] + self._row_errors(quick, rows)
        reaching: NDArray[np.intp] = rows[(upper >= floor) & (quick.scores[rows] > -np.inf)]
        return reaching

    def _row_errors(
        self, quick: Approximation, rows: NDArray[np.intp] | slice = slice(None)
    ) -> NDArray[np.float64]:
        return self._errors(quick, self._scorer.lengths[rows], self._scorer.rests[rows])

    @staticmethod
    def _errors(quick: Approximation, lengths: Floats, rests: Floats) -> NDArray[np.float64]:
        by_length: NDArray[np.float64] = quick.by_length * lengths.astype(np.float64)
        by_rest: NDArray[np.float64] = quick.by_rest * rests.astype(np.float64)
        return by_length + by_rest


class _Scored:
    """One query against all rows: quick scores, and exact cosines of the rows that matter."""

    def __init__(
        self,
        matrix: NDArray[np.floating],
        query: NDArray[np.float32],
        quick: Approximation,
        logit_scale: float,
        include: Mask | None,
    ) -> None:
        self._matrix = matrix
        self._query = query.astype(np.float64)
        self._quick = quick
        self._logit_scale = logit_scale
        self._include = include
        self._rows = np.empty(0, np.intp)
        self._cosines = np.empty(0, np.float64)

    def with_exact(self, rows: NDArray[np.intp]) -> "_Scored":
        """Score these rows exactly, in float64, each by itself; forget earlier ones."""
        parts = [
            exact_cosines(self._matrix[rows[at : at + _GATHERED]], self._query)
            for at in range(0, len(rows), _GATHERED)
        ]
        self._rows = rows
        self._cosines = np.concatenate(parts) if parts else np.empty(0, np.float64)
        # Their quick scores have done their part, and must not count a second time.
        self._quick.scores[rows] = -np.inf
        return self

    def hits(self, k: int) -> list[Hit]:
        """Return the k best rows with their shares."""
        if len(self._rows) == 0:
            return []
        best = np.lexsort((self._rows, -self._cosines))[:k]
        exact = self._exact_powers()
        total = self._quick_sum() + float(exact.sum())
        return [
            Hit(int(self._rows[at]), min(1.0, float(self._cosines[at])), float(exact[at] / total))
            for at in best
        ]

    def groups(self, k: int, groups: Groups) -> list[GroupHit]:
        """Return the k groups of the largest summed share."""
        if len(self._rows) == 0:
            return []
        first = self._group_sums(self._powers(), groups)
        members = self._members(_best(first, k + 8), groups)
        self.with_exact(np.union1d(members, self._rows))
        powers = self._powers()
        sums = self._group_sums(powers, groups)
        total = float(sums.sum())
        present = _best(sums, k)
        return [self._group_hit(code, sums[code] / total, powers, groups) for code in present]

    def _group_hit(
        self, code: int, share: float, powers: NDArray[np.float64], groups: Groups
    ) -> GroupHit:
        rows = np.flatnonzero(groups.codes == code)
        row = int(rows[np.argmax(powers[rows])])
        (cosine,) = exact_cosines(self._matrix[row : row + 1], self._query)
        return GroupHit(code, min(1.0, float(share)), row, min(1.0, float(cosine)))

    def _group_sums(self, powers: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
        sums = np.bincount(groups.codes, weights=powers, minlength=len(groups.names))
        return np.asarray(sums, np.float64)

    def _members(self, codes: Sequence[int], groups: Groups) -> NDArray[np.intp]:
        rows = np.flatnonzero(np.isin(groups.codes, codes))
        if self._include is not None:
            rows = rows[self._include[rows]]
        return rows if len(rows) <= _MOST_MEMBERS else self._rows

    def _exact_powers(self) -> NDArray[np.float64]:
        """Return exp(logit_scale * (cosine - best)) of the rows that were scored exactly."""
        powers: NDArray[np.float64] = np.exp(
            self._logit_scale * (self._cosines - self._cosines.max())
        )
        return powers

    def _quick_sum(self) -> float:
        """Return the sum of the same over all other rows, by their quick scores."""
        # Summed in lanes over the piece, and a short last piece with nothing in its rest.
        piece = np.zeros((_LANES, _PIECE // _LANES), np.float32)
        total = 0.0
        for start in range(0, len(self._quick.scores), _PIECE):
            left = len(self._quick.scores) - start
            if left < _PIECE:
                piece[...] = 0
            self._quick_powers(start, piece.reshape(-1)[:left])
            total += float(piece.sum(axis=0).sum())
        return total

    def _quick_powers(self, start: int, into: Floats) -> None:
        """Write it for the rows from `start`, as many as `into` holds; exact rows are 0.

        None can exceed 1: a row that was not scored again cannot reach the best.
        """
        quick = self._quick
        factor = self._logit_scale * _LOG2_E
        shift = factor * (quick.offset - float(self._cosines.max()))
        scores = quick.scores[start : start + len(into)]
        np.multiply(scores, np.float32(factor * quick.scale), out=into)
        np.add(into, np.float32(shift), out=into)
        np.exp2(into, out=into)

    def _powers(self) -> NDArray[np.float64]:
        """Return both in one array, float64 [N]."""
        quick = np.empty(len(self._matrix), np.float32)
        self._quick_powers(0, quick)
        powers: NDArray[np.float64] = quick.astype(np.float64)
        powers[self._rows] = self._exact_powers()
        return powers


def exact_cosines(rows: NDArray[np.floating], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64 cosines [n] of rows [n, D] and a unit query; equal rows get equal bits."""
    wide = np.asarray(rows, np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    cosines: NDArray[np.float64] = np.einsum("ij,j->i", wide, query) / lengths
    return cosines


def block_tops(values: Floats) -> Floats:
    """Return the largest value of each block of rows.

    Block j is the rows j, j + W, j + 2 W, ... for W = N // 32 blocks, so that all are found in one
    sweep over the array; the rows left over at its end are blocks of their own.
    """
    width = len(values) // _BLOCK
    whole = width * _BLOCK
    tops: Floats = values[:whole].reshape(_BLOCK, width).max(axis=0)
    return np.append(tops, values[whole:])


def rows_of_blocks(blocks: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return the rows of some blocks of `block_tops` over `count` values, in row order."""
    width = count // _BLOCK
    full = blocks[blocks < width]
    rows = (full[None, :] + width * np.arange(_BLOCK)[:, None]).ravel()
    left_over = blocks[blocks >= width] - width + width * _BLOCK
    return np.concatenate([rows, left_over])


def _kth_largest(values: NDArray[np.floating], k: int) -> float:
    return float(np.partition(values, len(values) - k)[len(values) - k])


def _best(sums: NDArray[np.float64], k: int) -> list[int]:
    """Return the codes of the k largest sums that are not zero, equal ones in order."""
    order = np.argsort(-sums, kind="stable")[:k]
    return [int(code) for code in order if sums[code] > 0]
