"""Which labels of which set fit a picture best: sets by name, branches, ranks, formats.

A query is checked on the event loop, its masks and groups are made in a decode thread (a large
set takes a moment the first time), its scores in the engine's thread.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_resources.labels import prepared_labels
from lumen_resources.labels.checks import wrong_row
from lumen_resources.labels.filters import Kept, kept
from lumen_resources.labels.label_sets import Labels, Lineage, load_labels, load_matrix
from lumen_resources.labels.rows import WrongRowError
from lumen_resources.model.layouts import LabelSetFiles, ScoreRule, VerifiedModel
from lumen_serving.classify.protocol import Result
from lumen_serving.errors import BadQuery, LabelsUnusable, UnknownLabelSet
from lumen_serving.label_index.codes import CodeCache
from lumen_serving.label_index.index import LabelIndex
from lumen_serving.label_index.query import GroupHit, Groups, Hit, Mask, group_by_rank
from lumen_serving.label_index.scores import score_facts
from lumen_terms.taxonomy import LabelFormat, Rank
from lumen_wire.meta import Branch, RequestMeta, Score, quoted

# The longest answer: every label of it is scored exactly and written as JSON.
MAX_TOP_K = 4096
# Masks that are kept, a byte a label each; a caller may ask for as many branches as there are,
# and a mask that is not kept any more is made anew in a few milliseconds.
_MASKS = 32
# A sum that is off by less is exact, as far as a float32 can say.
_NO_ERROR = 1e-6
_RANKS = tuple(Rank)

# What a filter means, whatever the order and the case of its terms: (rank, name) pairs by branch.
Branches = frozenset[frozenset[tuple[str, str]]]


class LabelSet:
    """One label set: names and lineages by row, the index of its vectors, and what is left out.

    `allowed` is the manifest's own include and exclude, with what a user should know of them and of
    the labels.
    """

    def __init__(
        self, files: LabelSetFiles, labels: Labels, index: LabelIndex, allowed: Kept
    ) -> None:
        self.name = files.name
        self.digest = files.digest
        self.label_format = files.label_format
        self.labels = labels
        self.index = index
        self.allowed = allowed.mask
        self.remarks = allowed.remarks
        self._taxa = labels.taxa()
        self._guard = threading.Lock()
        self._masks: OrderedDict[Branches, Mask] = OrderedDict()
        self._grouping = threading.Lock()
        self._groups: dict[Rank, Groups] = {}

    @property
    def resident_bytes(self) -> int:
        """Bytes of the index, the runtime's copy of it included."""
        return self.index.resident_bytes + self.index.runtime_bytes

    def count(self) -> int:
        """Return how many labels the set has in use."""
        return len(self.labels) if self.allowed is None else int(self.allowed.sum())

    def mask(self, branches: Branches) -> Mask | None:
        """Return which rows a query may answer with, maybe none; None means all."""
        if not branches:
            return self.allowed
        with self._guard:
            kept = self._masks.get(branches)
            if kept is not None:
                self._masks.move_to_end(branches)
                return kept
        mask = self._taxa.rows(branches)
        if self.allowed is not None:
            mask &= self.allowed
        with self._guard:
            self._masks[branches] = mask
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return mask

    def groups(self, rank: Rank) -> Groups:
        """Return the labels rolled up to a rank; only for a set with lineages."""
        made = self._groups.get(rank)
        if made is not None:
            return made
        with self._grouping:  # a lock of its own: the engine must not wait for it to find a mask
            if rank not in self._groups:
                lineages = self.labels.lineages or ()
                self._groups[rank] = group_by_rank(lineages, _RANKS.index(rank))
            return self._groups[rank]

    def texts(self, rows: Sequence[int], label_format: str) -> list[str]:
        """Return how the labels of these rows are written."""
        lineages = self.labels.lineages
        chosen = Labels(
            [self.labels.names[row] for row in rows],
            None if lineages is None else [lineages[row] for row in rows],
        )
        return chosen.texts(label_format)


class LabelClassifier:
    """The label sets of a service; the first is the one that is meant when none is named."""

    def __init__(self, sets: Mapping[str, LabelSet], rule: ScoreRule, default_k: int) -> None:
        self._sets = dict(sets)
        self._rule = rule
        self._default_k = default_k

    @property
    def resident_bytes(self) -> int:
        """The memory that the indexes hold."""
        return sum(one.resident_bytes for one in self._sets.values())

    @property
    def facts(self) -> dict[str, str]:
        """The sets and their sizes, for the capability's `extra`."""
        return {
            "label_sets": ",".join(self._sets),
            "max_top_k": str(MAX_TOP_K),
            **{f"labels.{name}": str(one.count()) for name, one in self._sets.items()},
        }

    def query(self, meta: RequestMeta) -> "LabelQuery":
        """Return the query that a request's meta asks for.

        Raises:
            UnknownLabelSet: no set of that name.
            BadQuery: ranks or branches of a set that has no lineages.

        """
        chosen = self._chosen(meta.labels)
        if chosen.labels.lineages is None and (meta.rank or meta.include):
            raise BadQuery(
                f"The labels of {chosen.name} have no ranks: leave out rank and include."
            )
        label_format = meta.label_format or LabelFormat(chosen.label_format)
        return LabelQuery(
            label_set=chosen,
            top_k=meta.top_k or self._default_k,
            branches=frozenset(map(_folded, meta.include)),
            rank=meta.rank,
            rule=self._rule,
            asked=meta.include,
            label_format=label_format,
            score_kind=meta.score,
        )

    def _chosen(self, name: str | None) -> LabelSet:
        if name is None:
            return next(iter(self._sets.values()))
        found = self._sets.get(name)
        if found is None:
            known = ", ".join(self._sets)
            raise UnknownLabelSet(f"There is no label set {quoted(name)} here. Loaded: {known}.")
        return found


@dataclass(frozen=True, slots=True)
class LabelQuery:
    """One request's query; those that differ only in how they are shown are scored together."""

    label_set: LabelSet
    top_k: int
    branches: Branches
    rank: Rank | None
    rule: ScoreRule
    asked: tuple[Branch, ...] = field(compare=False)
    label_format: LabelFormat = field(compare=False)
    score_kind: Score = field(compare=False)

    def prepare(self) -> None:
        """Make what the query needs; in a decode thread.

        Raises:
            BadQuery: no label is left, or more are asked for than an answer holds.

        """
        mask = self.label_set.mask(self.branches)
        if mask is not None and not mask.any():
            said = quoted(";".join(map(_written, self.asked)))
            raise BadQuery(
                f"No label of {self.label_set.name} has {said}. Check the name's spelling."
            )
        there = self.label_set.count() if mask is None else int(np.count_nonzero(mask))
        if self.rank is not None:
            there = min(there, len(self.label_set.groups(self.rank).names))
        if min(self.top_k, there) > MAX_TOP_K:
            raise BadQuery(
                f"top_k is {self.top_k}, and an answer holds at most {MAX_TOP_K} of the {there} "
                f"labels that {self.label_set.name} has for this request: ask for fewer."
            )

    def score(self, vectors: NDArray[np.float32]) -> Sequence[Any]:
        """Return the hits, or the groups of the rank, for each unit row."""
        mask = self.label_set.mask(self.branches)
        if self.rank is None:
            return self.label_set.index.top_k(vectors, self.top_k, self.rule, mask)
        groups = self.label_set.groups(self.rank)
        return self.label_set.index.top_groups(vectors, self.top_k, self.rule, groups, mask)

    def result(self, scored: Any) -> Result:
        """Return labels or groups with their scores (or cosines), and their lineages."""
        meta = {"label_set": self.label_set.digest, **score_facts(self.rule)}
        if self.rank is None:
            names, lineages = self._rows(scored)
        else:
            names, lineages = self._groups(scored, self.label_set.groups(self.rank))
        if scored and self.score_kind is Score.SHARE and scored[0].error > _NO_ERROR:
            meta["share_error"] = f"{scored[0].error:.1g}"
        if lineages is not None:
            meta["lineage"] = orjson.dumps(lineages).decode()
        cosines = self.score_kind is Score.COSINE
        scores = [hit.cosine if cosines else hit.score for hit in scored]
        return Result(list(zip(names, scores, strict=True)), meta)

    def _rows(self, hits: Sequence[Hit]) -> tuple[list[str], list[Lineage] | None]:
        rows = [hit.row for hit in hits]
        lineages = self.label_set.labels.lineages
        names = self.label_set.texts(rows, self.label_format)
        return names, None if lineages is None else [lineages[row] for row in rows]

    @staticmethod
    def _groups(hits: Sequence[GroupHit], groups: Groups) -> tuple[list[str], list[Lineage] | None]:
        codes = [hit.group for hit in hits]
        return [groups.names[c] for c in codes], [groups.lineages[c] for c in codes]


def _folded(branch: Branch) -> frozenset[tuple[str, str]]:
    return frozenset((one.rank.value, one.value.casefold()) for one in branch)


def _written(branch: Branch) -> str:
    return ",".join(f"{one.rank}={one.value}" for one in branch)


def load_label_sets(model: VerifiedModel, threads: int) -> Iterator[LabelSet]:
    """Yield the model's label sets in the order of the manifest.

    Raises:
        LabelsUnusable: vectors are not there, or the manifest's filters leave no label.
        LabelSetError: the files can't be read, or a row is zero or not finite.

    """
    for files in model.label_sets:
        yield _load(model, files, threads)


def _load(model: VerifiedModel, files: LabelSetFiles, threads: int) -> LabelSet:
    labels = load_labels(files)
    path = files.embeddings or prepared_labels.prepared(model, files, labels)
    if path is None:
        raise LabelsUnusable(
            f"The label set {files.name} has no vectors. {files.note}".strip(),
            remedy="Let the init container `prepare` compute them, "
            "or run `python -m lumen_serving prepare` with the same configuration.",
            file=str(files.labels),
        )
    matrix = load_matrix(path, model.embedding_dim, len(labels))
    with rows_named(path, files, labels):
        index = LabelIndex.build(matrix, threads=threads, cache=CodeCache.of(model, files))
    return LabelSet(files, labels, index, _allowed(files, labels))


@contextmanager
def rows_named(matrix: Path, files: LabelSetFiles, labels: Labels) -> Iterator[None]:
    """Turn a wrong row that is found while a matrix is indexed into a LabelSetError."""
    try:
        yield
    except WrongRowError as error:
        raise wrong_row(error, matrix, files, labels) from error


def _allowed(files: LabelSetFiles, labels: Labels) -> Kept:
    found = kept(labels, files)
    said = (*found.remarks, *labels.remarks(files.label_format))
    if found.mask is not None and not found.mask.any():
        raise LabelsUnusable(
            f"include and exclude leave no label of {files.name}. {' '.join(found.remarks)}",
            remedy="Correct spec.labelSets[].include and exclude.",
            file=str(files.labels),
        )
    return Kept(found.mask, said)
