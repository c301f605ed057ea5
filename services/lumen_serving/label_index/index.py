"""The best labels of a picture, proven: quick scores of all rows, exact ones where it matters.

A quick score is wrong by no more than a known bound. Every row whose bound reaches into the top k
is scored again from the memory-mapped matrix, so no row is ever missed.
Called by the engine thread; scenes are scored by it as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumen_resources.model.layouts import ScoreRule
from lumen_serving.label_index.close_rows import CandidateRows, CodedRows, FileRows, Narrowing
from lumen_serving.label_index.codes import CodeCache, encode_cached, is_on_its_side
from lumen_serving.label_index.query import (
    SUMMED_EXACTLY,
    GroupHit,
    Groups,
    Hit,
    Mask,
    QueryResult,
    block_tops,
    largest,
    rows_of_blocks,
)
from lumen_serving.label_index.scorers import (
    Approximation,
    Doubles,
    Floats,
    FloatScorer,
    IntegerScorer,
    Scorer,
)

# Up to it, the float32 product is the quicker one.
SMALL_ROWS = 4096
# So many codes cost as much to read as narrowing the bounds of all.
_MANY = 32_768
# No row's score is below it but an excluded one's.
_LOWEST = float(np.finfo(np.float32).min)


class LabelIndex:
    """A label set's vectors, ready to be compared with unit queries."""

    def __init__(
        self, candidates: CandidateRows, scorer: Scorer, narrowing: Narrowing | None = None
    ) -> None:
        self._candidates = candidates
        self._scorer = scorer
        self._narrowing = narrowing
        self._length_tops = block_tops(scorer.lengths)
        self._rest_tops = block_tops(scorer.rests)
        squares = (np.vecdot(each, each) for each in (scorer.lengths, scorer.rests))
        self._mean_squares = tuple(float(each) / max(1, len(scorer.lengths)) for each in squares)
        self._most = tuple(tops.max(initial=0.0) for tops in (self._length_tops, self._rest_tops))

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

        Rows need not be of unit length, and may be the columns of a file [D, N] seen as [N, D].
        `cache` keeps what takes a minute.

        Raises:
            WrongRowError: a row is zero or not finite.

        """
        if len(matrix) <= small_rows:
            return cls(FileRows(matrix), FloatScorer(matrix))
        codes = encode_cached(matrix, cache)
        on_its_side = is_on_its_side(matrix)
        candidates = CodedRows(matrix, codes) if on_its_side else FileRows(matrix)
        return cls(candidates, IntegerScorer(codes, threads), Narrowing(codes))

    def __len__(self) -> int:
        return len(self._scorer.lengths)

    @property
    def resident_bytes(self) -> int:
        """Bytes of the index in this process, without memory maps."""
        tops = self._length_tops.nbytes + self._rest_tops.nbytes
        return self._scorer.resident_bytes + self._candidates.held_bytes + tops

    @property
    def runtime_bytes(self) -> int:
        """Bytes of the packed codes that ONNX Runtime holds; 0 for small sets."""
        return self._scorer.packed_bytes if isinstance(self._scorer, IntegerScorer) else 0

    def top_k(
        self,
        queries: NDArray[np.float32],
        k: int,
        rule: ScoreRule,
        include: Mask | None = None,
    ) -> list[list[Hit]]:
        """Return the k best labels of each unit query [Q, D], best first, equal ones by row.

        `include` bool [N] restricts the label set; k is clamped to what is left.
        """
        return [one.hits(k) for one in self._queries(queries, k, rule, include)]

    def top_groups(
        self,
        queries: NDArray[np.float32],
        k: int,
        rule: ScoreRule,
        groups: Groups,
        include: Mask | None = None,
    ) -> list[list[GroupHit]]:
        """Return the k groups of the largest score for each query, best first.

        By shares that is the sum over a group's labels; by sigmoids, which add up to nothing, the
        score of its best label.

        Members of the groups in question are scored exactly (up to 20,000 rows), the others enter
        by their quick scores: within the set, sums are true to some parts in a thousand.
        """
        some = self._queries(queries, 1, rule, include)
        return [one.groups(k, groups) for one in some]

    def _queries(
        self, queries: Floats, k: int, rule: ScoreRule, include: Mask | None
    ) -> Iterator[QueryResult]:
        """Yield what is known of each unit query, exactly of all rows that may be among k."""
        among = None if include is None else Restriction.to(include)
        for query, first in zip(queries, self._scorer.approximate(queries), strict=True):
            if among is not None:
                # An excluded row's bounds are minus infinity, and it stays so below.
                np.add(first.scores, among.penalties, out=first.scores)
            quick, rows = self._narrowed(query, first, SUMMED_EXACTLY, among)
            result = QueryResult(self._candidates, query, quick, rule, include)
            result.with_exact(rows, SUMMED_EXACTLY).with_total(self._spread(quick, len(query)))
            if k > SUMMED_EXACTLY:
                _, rows = self._narrowed(query, result.undone(), k, among)
                result.with_exact(rows, k)
            yield result

    def _narrowed(
        self, query: Floats, first: Approximation, k: int, among: "Restriction | None"
    ) -> tuple[Approximation, NDArray[np.intp]]:
        """Return every row that may be among the k best, by the scores that were needed for it."""
        quick, rows = first, self._reaching(first, k, among)
        if quick.coarse and len(rows) > max(_MANY, 2 * k):
            quick = self._scorer.refined(query, first)
            rows = self._reaching(quick, k, among)
        if self._narrowing is not None:
            rows = self._narrowing.still_reaching(rows, query, k)
        return quick, rows

    def _spread(self, quick: Approximation, dim: int) -> float:
        """Return the standard deviation of a row's error, as a cosine.

        An error is the product of what was left out of a query with a row, and the reverse. Bounds
        take them for parallel; of unrelated directions the squares are the `dim`-th part.
        """
        squares = self._mean_squares
        bounds = quick.by_length**2 * squares[0] + quick.by_rest**2 * squares[1]
        return float(quick.scale * np.sqrt(bounds / dim))

    def _reaching(
        self, quick: Approximation, k: int, among: "Restriction | None"
    ) -> NDArray[np.intp]:
        """Return every row that may be among the k best, in row order.

        The k-th largest lower bound is a floor that the k-th best cosine cannot be below; rows
        whose upper bound is below it are out.
        """
        if k >= (len(self) if among is None else among.count):
            return np.arange(len(self)) if among is None else np.flatnonzero(among.include)
        tops = block_tops(quick.scores)
        floor = self._floor(quick, tops, k)
        # The largest error of all leaves out most blocks without a look at their own, and that of
        # the blocks left most of their rows. A floor rounded to float32 loses none: what is not
        # below the floor is not below the nearest number of its own kind either.
        blocks = np.flatnonzero(tops >= np.float32(floor - self._errors(quick, *self._most)))
        errors = self._errors(quick, self._length_tops[blocks], self._rest_tops[blocks])
        kept = tops[blocks] + errors >= floor
        rows = rows_of_blocks(blocks[kept], len(self))
        rows = rows[quick.scores[rows] + errors[kept].max(initial=0.0) >= floor]
        upper = quick.scores[rows] + self._row_errors(quick, rows)
        reaching: NDArray[np.intp] = rows[upper >= floor]
        return reaching

    def _floor(self, quick: Approximation, tops: Floats, k: int) -> float:
        """Return the k-th largest of some rows' lower bounds; that of an excluded row is less."""
        if k <= len(tops):
            # The best rows of the best blocks, which are as many different rows.
            best = largest(tops, 2 * k)
            lower = tops[best] - self._errors(quick, self._length_tops[best], self._rest_tops[best])
        else:
            lower = quick.scores - self._row_errors(quick)
        return max(float(lower[largest(lower, k)].min()), _LOWEST)

    def _row_errors(
        self, quick: Approximation, rows: NDArray[np.intp] | slice = slice(None)
    ) -> Doubles:
        return self._errors(quick, self._scorer.lengths[rows], self._scorer.rests[rows])

    @staticmethod
    def _errors(quick: Approximation, lengths: Floats, rests: Floats) -> Doubles:
        # In float64, and so without rounding that would have to be bounded as well.
        by_length: Doubles = quick.by_length * lengths.astype(np.float64)
        by_rest: Doubles = quick.by_rest * rests.astype(np.float64)
        return by_length + by_rest


@dataclass(frozen=True, slots=True)
class Restriction:
    """The rows that may be answered with, made once for the queries of a call.

    `penalties` float32 [N] is 0 for them and minus infinity for the others: adding it takes a tenth
    of the time of an assignment by `include`.
    """

    include: Mask
    penalties: Floats
    count: int

    @classmethod
    def to(cls, include: Mask) -> "Restriction":
        """Keep the rows of bool [N]."""
        penalties = np.where(include, np.float32(0), np.float32(-np.inf))
        return cls(include, penalties, int(np.count_nonzero(include)))
