"""Which labels of a set a filter means: by the code of a taxon, never by comparing texts by row.

A filter of any number of terms costs a look-up a term, and one pass over the rows for each rank
that it names. The codes of a rank are made when a filter first names it: 450,000 rows take some
tenths of a second, and keep 4 bytes a row beside a table of the rank's names.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAME = "name"

Mask = NDArray[np.bool_]
Lineage = tuple[str, ...]


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

    def rows(self, names: Iterable[str]) -> Mask:
        """Return bool [N]: which rows have one of these names."""
        wanted = np.zeros(len(self.code_of), np.bool_)
        codes = (self.code_of.get(name.casefold()) for name in names)
        wanted[[code for code in codes if code is not None]] = True
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

    def rows(self, terms: Iterable[tuple[str, str]]) -> Mask:
        """Return bool [N]: the rows for which any of the (key, name) terms holds."""
        by_key: dict[str, list[str]] = {}
        for key, name in terms:
            by_key.setdefault(key, []).append(name)
        found = np.zeros(len(self._names), np.bool_)
        for key, names in by_key.items():
            found |= self._column(key).rows(names)
        return found

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
