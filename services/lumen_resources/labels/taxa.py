"""Which labels of a set a filter means: by the code of a taxon, never by comparing texts by row.

A term is a rank and a name (`class=Aves`), a branch one or more terms: of one rank any will do, of
several ranks each must hold. A label is meant when it is on any of the branches.

Branches of one rank cost a look-up a term, and one pass over the rows for each rank that they name;
every other one costs a pass for each of its ranks. The codes of a rank are made when a filter first
names it: 450,000 rows take some tenths of a second, and keep 4 bytes a row beside a table of the
rank's names.
"""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

NAME = "name"
GENUS, EPITHET = "genus", "species"

Mask = NDArray[np.bool_]
Lineage = tuple[str, ...]
Term = tuple[str, str]
Branch = Collection[Term]


@dataclass(frozen=True, slots=True)
class _Column:
    """One rank: `codes` int32 [N] says which of its names, without case, each row has."""

    codes: NDArray[np.int32]
    code_of: Mapping[str, int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "_Column":
        """Number the names; those that differ in the case of letters alone are one."""
        code_of: dict[str, int] = {}
        numbers = {text: code_of.setdefault(text.casefold(), len(code_of)) for text in set(texts)}
        return cls(np.fromiter(map(numbers.__getitem__, texts), np.int32, len(texts)), code_of)

    def known(self, names: Iterable[str]) -> dict[str, int]:
        """Return the codes of those names that any row has."""
        codes = ((name, self.code_of.get(name.casefold())) for name in names)
        return {name: code for name, code in codes if code is not None}

    def rows(self, codes: Collection[int]) -> Mask:
        """Return bool [N]: which rows have one of these codes."""
        wanted = np.zeros(len(self.code_of), np.bool_)
        wanted[list(codes)] = True
        return wanted[self.codes]


class TaxonIndex:
    """The names of a label set's rows, rank by rank; may be asked from many threads."""

    def __init__(
        self, names: Sequence[str], lineages: Sequence[Lineage] | None, ranks: Sequence[str]
    ) -> None:
        self._names = names
        self._lineages = lineages
        self._ranks = ranks if lineages is not None else ()
        self._columns: dict[str, _Column] = {}
        self._making = threading.Lock()

    @property
    def keys(self) -> tuple[str, ...]:
        """What a filter may name: the ranks, if there are lineages, and the label's name."""
        return (*self._ranks, NAME)

    def rows(self, branches: Iterable[Branch]) -> Mask:
        """Return bool [N]: the rows that are on any of the branches."""
        alone: dict[str, list[str]] = {}
        found = np.zeros(len(self._names), np.bool_)
        for branch in branches:
            by_key: dict[str, list[str]] = {}
            for key, name in branch:
                by_key.setdefault(key, []).append(name)
            if len(by_key) == 1:
                for key, names in by_key.items():
                    alone.setdefault(key, []).extend(names)
            elif by_key:
                masks = (self.having(key, names).mask for key, names in by_key.items())
                found |= reduce(np.logical_and, masks)
        for key, names in alone.items():
            found |= self.having(key, names).mask
        return found

    def having(self, key: str, names: Collection[str]) -> "NamedRows":
        """Return which rows have one of these names at a rank, and which names no row has.

        A species is called by its epithet, which other genera have too, or by `Genus epithet`.
        """
        column = self._column(key)
        codes = column.known(names)
        mask = column.rows(codes.values())
        known = set(codes)
        if key == EPITHET:
            known |= self._binomials([name for name in names if " " in name], mask)
        return NamedRows(mask, tuple(name for name in names if name not in known))

    def called(self, names: Collection[str]) -> "NamedRows":
        """Return which rows have one of these names, whatever kind of name it is.

        A common name, a species as `Genus epithet`, or a taxon of any rank from genus up; and which
        names are none of them.
        """
        column = self._column(NAME)
        codes = column.known(names)
        mask, known = column.rows(codes.values()), set(codes)
        if self._ranks:
            known |= self._binomials([name for name in names if " " in name], mask)
        for rank in reversed(self._ranks[:-1]):
            left = [name for name in names if name not in known]
            if not left:
                break
            column = self._column(rank)
            codes = column.known(left)
            known |= codes.keys()
            mask |= column.rows(codes.values())
        return NamedRows(mask, tuple(name for name in names if name not in known))

    def _binomials(self, names: Sequence[str], mask: Mask) -> set[str]:
        """Set the rows of these in the mask, and return those that any row has."""
        genera, epithets = self._column(GENUS), self._column(EPITHET)
        wanted: dict[tuple[int, int], list[str]] = {}
        for name in names:
            for genus, epithet in _splits(name.casefold()):
                pair = genera.code_of.get(genus), epithets.code_of.get(epithet)
                if pair[0] is not None and pair[1] is not None:
                    wanted.setdefault((pair[0], pair[1]), []).append(name)
        if not wanted:
            return set()
        # Few rows have such an epithet: their pairs alone are compared.
        rows = np.flatnonzero(epithets.rows([epithet for _, epithet in wanted]))
        pairs = zip(genera.codes[rows].tolist(), epithets.codes[rows].tolist(), strict=True)
        named = [wanted.get(pair, ()) for pair in pairs]
        mask[rows[[bool(each) for each in named]]] = True
        return {name for each in named for name in each}

    def _column(self, key: str) -> _Column:
        made = self._columns.get(key)
        if made is not None:
            return made
        with self._making:
            if key not in self._columns:
                self._columns[key] = _Column.of(self._texts(key))
            return self._columns[key]

    def _texts(self, key: str) -> Sequence[str]:
        if key == NAME or self._lineages is None:
            return self._names
        at = self._ranks.index(key)
        return [lineage[at] for lineage in self._lineages]


@dataclass(frozen=True, slots=True)
class NamedRows:
    """What names mean: `mask` bool [N], and the `unknown` ones, in order."""

    mask: Mask
    unknown: tuple[str, ...]


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield (genus, epithet) for every way to read a name; a hybrid's genus has two words."""
    words = name.split()
    for at in range(1, len(words)):
        yield " ".join(words[:at]), " ".join(words[at:])
