"""One query's answer: exact cosines of the rows that matter, and scores by the model's rule.

Shares (a softmax) are divided by the sum over all rows: how the labels compare with each other, not
how probable it is that one is true. The sum is one number of the query, however many labels are
asked for: the best `SUMMED_EXACTLY` rows are in it exactly, the others by their quick scores, less
what the errors of these add on average. Sigmoids are each row's own. Called by `index`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lumen_resources.labels.label_sets import Lineage
from lumen_resources.model.layouts import ScoreRule
from lumen_serving.label_index.close_rows import CandidateRows
from lumen_serving.label_index.scorers import Approximation, Doubles, Floats
from lumen_serving.label_index.scores import sigmoids

# The best rows that the sum of all has exactly; whoever asks for no more costs no more.
SUMMED_EXACTLY = 16
# Of chance, so many standard deviations are told.
_SIGMAS = 3.0
# Rows at a time in the sum of all, so that they stay in the cache over its steps.
_PIECE = 1 << 16
# What a piece is summed with: the product takes less time than the sum.
_ONES = np.ones(2048, np.float32)
# Powers of two up to this leave float32 room for the sum of them, and for what is far smaller.
_SAFE_SHIFT = 64
# Below, a power of two is smaller than what float32 holds at full precision.
_LEAST_POWER = np.float32(-126)
_LOG2_E = float(np.log2(np.e))
# Rows of the best groups that are scored exactly for a roll-up.
_MOST_MEMBERS = 20_000
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Groups:
    """Labels rolled up to a rank: `codes` int32 [N] says which of `names` each row belongs to."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]
    lineages: tuple[Lineage, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A label: its row, the cosine, and its score by the model's rule, 0 to 1.

    `error` is how far the sum of all, and so every share, may be off, relatively; 0 when exact.
    """

    row: int
    cosine: float
    score: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupHit:
    """A taxonomic group: its code, its score, its best label's row and cosine.

    The score is the sum of its labels' shares, or the largest of their sigmoids; `error` as Hit's.
    """

    group: int
    score: float
    row: int
    cosine: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Total:
    """The sum over all rows of exp(scale * (cosine - best)).

    `damping` is what a quick score's power is multiplied by: errors of either sign add to a sum of
    powers, on average by the inverse. `error` is the relative error that may be left, estimated.
    """

    best: float
    value: float
    damping: float
    error: float


class QueryResult:
    """One query against all rows: quick scores, and exact cosines of the rows that matter."""

    def __init__(
        self,
        candidates: CandidateRows,
        query: NDArray[np.float32],
        quick: Approximation,
        rule: ScoreRule,
        include: Mask | None,
    ) -> None:
        self._candidates = candidates
        self._query = query
        self._quick = quick
        self._rule = rule
        self._include = include
        self._rows = np.empty(0, np.intp)
        self._cosines = np.empty(0, np.float64)
        self._set_aside = np.empty(0, np.float32)
        self._total = Total(0.0, 1.0, 1.0, 0.0)

    def with_total(self, spread: float) -> "QueryResult":
        """Sum over all rows, those scored exactly and the others, for the shares of all answers.

        `spread` is the standard deviation of a quick score's error, as a cosine.
        """
        if self._rule.kind == "softmax" and len(self._rows):
            best = float(self._cosines.max())
            exact = float(self._exact_powers(best).sum())
            deviation = self._rule.scale * spread
            damping = float(np.exp(-(deviation**2) / 2))
            quick = damping * self._quick_sum(best)
            error = 0.0
            if quick > 0 and deviation > 0:
                # By what damping itself is uncertain, and by chance: the fewer rows weigh, the
                # more. None of them weighs more than the last of the best that are exact.
                last = self._cosines[largest(self._cosines, SUMMED_EXACTLY)].min()
                heaviest = float(np.exp(self._rule.scale * (last - best)))
                chance = _SIGMAS * deviation * float(np.sqrt(min(1.0, heaviest / quick)))
                error = (1 - damping + chance) * quick / (exact + quick)
            self._total = Total(best, exact + quick, damping, error)
        return self

    def undone(self) -> Approximation:
        """Return the quick scores of all rows, before others are scored exactly."""
        self._quick.scores[self._rows] = self._set_aside
        self._rows = self._rows[:0]
        return self._quick

    def with_exact(self, rows: NDArray[np.intp], k: int) -> "QueryResult":
        """Score these rows, and exactly those that may be among the k best; forget earlier ones.

        The others of them are true to some parts in 10,000 at the very worst, which moves no share.
        """
        near = np.arange(len(rows))
        cosines = np.empty(len(rows), np.float64)
        if k < len(rows):
            cosines, errors = self._candidates.close(rows, self._query)
            lower = cosines - errors
            near = np.flatnonzero(cosines + errors >= lower[largest(lower, k)].min())
        cosines[near] = self._candidates.exact(rows[near], self._query)
        self._rows, self._cosines = rows, cosines
        self._set_aside = self._quick.scores[rows]
        # Their quick scores have done their part, and must not count a second time.
        self._quick.scores[rows] = -np.inf
        return self

    def hits(self, k: int) -> list[Hit]:
        """Return the k best rows with their scores."""
        if len(self._rows) == 0:
            return []
        best = np.lexsort((self._rows, -self._cosines))[:k]
        scores = self._scores()
        return [
            Hit(
                int(self._rows[at]),
                min(1.0, float(self._cosines[at])),
                float(scores[at]),
                self._total.error,
            )
            for at in best
        ]

    def _scores(self) -> Doubles:
        """Return the scores of the rows that were scored exactly."""
        if self._rule.kind == "sigmoid":
            return sigmoids(self._cosines, self._rule)
        shared: Doubles = self._exact_powers(self._total.best) / self._total.value
        return np.minimum(shared, 1.0)

    def groups(self, k: int, groups: Groups) -> list[GroupHit]:
        """Return the k groups of the largest score."""
        if len(self._rows) == 0:
            return []
        weigh = self._group_tops if self._rule.kind == "sigmoid" else self._group_sums
        first, _ = weigh(groups)
        members = self._members(_best(first, k + 8), groups)
        rows = np.union1d(members, self._rows)
        self.undone()
        self.with_exact(rows, len(rows) if len(rows) <= self._candidates.most_exact else 1)
        weights, ranking = weigh(groups)
        present = _best(weights, k)
        best = best_rows(groups.codes, ranking, present)
        cosines = self._candidates.exact(best, self._query)
        if self._rule.kind == "sigmoid":
            scores = sigmoids(cosines, self._rule)
        else:
            scores = np.minimum(1.0, weights[present] / self._total.value)
        return [
            GroupHit(code, float(score), int(row), min(1.0, float(cosine)), self._total.error)
            for code, score, row, cosine in zip(present, scores, best, cosines, strict=True)
        ]

    def _group_sums(self, groups: Groups) -> tuple[Doubles, Doubles]:
        """Return what each group's rows weigh together, and what each row does."""
        powers = self._powers()
        sums = np.bincount(groups.codes, weights=powers, minlength=len(groups.names))
        return np.asarray(sums, np.float64), powers

    def _group_tops(self, groups: Groups) -> tuple[Doubles, Doubles]:
        """Return what each group's best row weighs, and each row; what is left out weighs 0."""
        cosines = self._quick.scale * self._quick.scores.astype(np.float64) + self._quick.offset
        cosines[self._rows] = self._cosines
        nearness: Doubles = np.maximum(cosines + 2.0, 0.0)  # a cosine is -1 at least
        tops = np.zeros(len(groups.names), np.float64)
        np.maximum.at(tops, groups.codes, nearness)
        return tops, nearness

    def _members(self, codes: Sequence[int], groups: Groups) -> NDArray[np.intp]:
        """Return the rows of the first of these groups, as many groups as have few rows enough.

        So a group's rows are scored exactly or not, however many groups are asked for after it.
        """
        mine = np.isin(groups.codes, codes)
        if self._include is not None:
            mine &= self._include
        rows = np.flatnonzero(mine)
        if len(rows) <= _MOST_MEMBERS:
            return rows
        counts = np.bincount(groups.codes[rows], minlength=len(groups.names))
        few = np.cumsum(counts[list(codes)]) <= _MOST_MEMBERS
        kept = np.asarray(codes)[few]
        return rows[np.isin(groups.codes[rows], kept)]

    def _exact_powers(self, best: float) -> Doubles:
        """Return exp(scale * (cosine - best)) of the rows that were scored exactly."""
        powers: Doubles = np.exp(self._rule.scale * (self._cosines - best))
        return powers

    def _quick_sum(self, best: float) -> float:
        """Return the sum of the same over all other rows, by their quick scores."""
        total, shift = 0.0, self._shift(best)
        # One factor of the sum does for a sweep over all, where no power leaves float32's range.
        late = shift if abs(shift) < _SAFE_SHIFT else 0.0
        # A power that is zero takes ten times as long; so many of the least are nothing together.
        lowest = None if self._include is None else _LEAST_POWER
        piece = np.zeros((_PIECE // len(_ONES), len(_ONES)), np.float32)
        for start in range(0, len(self._quick.scores), _PIECE):
            left = len(self._quick.scores) - start
            if left < _PIECE:
                piece[...] = 0
            self._quick_powers(start, shift - late, piece.reshape(-1)[:left], lowest=lowest)
            total += float(np.vecdot(piece, _ONES).sum(dtype=np.float64))
        return total * float(np.exp2(late))

    def _shift(self, best: float) -> float:
        """Return what makes a row's exponent of two relative to the best."""
        return self._rule.scale * _LOG2_E * (self._quick.offset - best)

    def _quick_powers(
        self, start: int, shift: float, into: Floats, lowest: np.float32 | None = None
    ) -> None:
        """Write it for the rows from `start`, as many as `into` holds; exact rows are 0.

        With the whole shift none can exceed 1: a row that was not scored again cannot reach the
        best.
        """
        scores = self._quick.scores[start : start + len(into)]
        factor = self._rule.scale * _LOG2_E * self._quick.scale
        np.multiply(scores, np.float32(factor), out=into)
        if shift:
            np.add(into, np.float32(shift), out=into)
        if lowest is not None:
            np.maximum(into, lowest, out=into)
        np.exp2(into, out=into)

    def _powers(self) -> Doubles:
        """Return both in one array, float64 [N]."""
        best = self._total.best
        quick = np.empty(len(self._quick.scores), np.float32)
        self._quick_powers(0, self._shift(best), quick)
        powers: Doubles = self._total.damping * quick.astype(np.float64)
        powers[self._rows] = self._exact_powers(best)
        return powers


def _best(sums: Doubles, k: int) -> list[int]:
    """Return the codes of the k largest sums that are not zero, equal ones in order."""
    order = np.argsort(-sums, kind="stable")[:k]
    return [int(code) for code in order if sums[code] > 0]


def best_rows(codes: NDArray[np.int32], powers: Doubles, wanted: Sequence[int]) -> NDArray[np.intp]:
    """Return the row of the largest power for each wanted code, the first of equal ones.

    One pass over all rows, not one a code. Every wanted code must have a row.
    """
    rows = np.flatnonzero(np.isin(codes, wanted))
    order = np.lexsort((-powers[rows], codes[rows]))
    rows = rows[order]
    best: NDArray[np.intp] = rows[np.searchsorted(codes[rows], wanted)]
    return best


_BLOCK = 32


def block_tops(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest value of each block of rows.

    Block j is the rows j, j + W, j + 2 W, ... for W = N // 32 blocks, so that all are found in one
    sweep over the array; the rows left over at its end are blocks of their own.
    """
    width = len(values) // _BLOCK
    whole = width * _BLOCK
    tops: NDArray[np.float32] = values[:whole].reshape(_BLOCK, width).max(axis=0)
    return np.append(tops, values[whole:])


def rows_of_blocks(blocks: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return the rows of some blocks of `block_tops` over `count` values, in row order."""
    width = count // _BLOCK
    full = blocks[blocks < width]
    rows = (full[None, :] + width * np.arange(_BLOCK)[:, None]).ravel()
    left_over = blocks[blocks >= width] - width + width * _BLOCK
    return np.concatenate([rows, left_over])


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Return where the k largest values are, in any order; all places if there are fewer."""
    first = max(0, len(values) - k)
    places: NDArray[np.intp] = np.argpartition(values, first)[first:]
    return places


def group_by_rank(lineages: Sequence[Lineage], rank_index: int) -> Groups:
    """Group labels by the first `rank_index` + 1 parts of their lineage (0: kingdom, 6: species).

    Two families of one name in different orders stay apart. A group is called by its own rank; a
    species by `Genus epithet`; one whose rank is unknown by `*`.
    """
    seen: dict[Lineage, int] = {}
    codes = np.empty(len(lineages), np.int32)
    for row, lineage in enumerate(lineages):
        codes[row] = seen.setdefault(lineage[: rank_index + 1], len(seen))
    return Groups(codes, tuple(_rank_name(prefix) for prefix in seen), tuple(seen))


def _rank_name(prefix: Lineage) -> str:
    if len(prefix) == 7 and prefix[5] and prefix[6]:
        return f"{prefix[5]} {prefix[6]}"
    return prefix[-1] or "*"
