"""What the manifest's filters keep of a label set, and what is to be said of it.

Called when files are checked, and by the server for the labels that it answers with.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lumen_resources.errors import LabelSetError
from lumen_resources.labels.label_sets import Labels
from lumen_resources.labels.name_lists import ANY, read_names, without_author
from lumen_resources.labels.taxa import Mask, NamedRows, TaxonIndex, Term
from lumen_resources.model.layouts import LabelSetFiles, NameList
from lumen_terms.taxonomy import Rank

# Below the family a taxon may well have one species; above it, so few say that a rank is missing.
_BROAD = frozenset({Rank.KINGDOM, Rank.PHYLUM, Rank.CLASS, Rank.ORDER})
_FEW = 100
# A name may contain a comma, as `Robin, European` does.
_BETWEEN_TERMS = re.compile(rf",\s*(?=(?:{'|'.join(Rank)}|name)\s*=)")
# Counts of so many entries are told one by one, and so many unknown names of a list.
_COUNTED = 10
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Kept:
    """The labels that stay: `mask` bool [N], None where nothing is left out."""

    mask: Mask | None
    remarks: tuple[str, ...]


def kept(labels: Labels, files: LabelSetFiles) -> Kept:
    """Return what a set's include and exclude keep, entries and lists of names together.

    A label stays when it is on any included branch or list (or there is none), and on no excluded
    one. Raises LabelSetError for a term that the set has no key for, or a list that cannot be read.
    """
    included, excluded = (files.include, files.include_names), (files.exclude, files.exclude_names)
    if not any((*included, *excluded)):
        return Kept(None, ())
    taxa = labels.taxa()
    mask = np.ones(len(labels), np.bool_)
    said: list[str] = []
    if any(included):
        mask = _meant(taxa, *included, "keeps", said)
    if any(excluded):
        mask &= ~_meant(taxa, *excluded, "drops", said)
    said.append(f"{int(mask.sum()):,} of {len(labels):,} labels are in use.")
    return Kept(mask, tuple(said))


def _meant(
    taxa: TaxonIndex, entries: Sequence[str], names: NameList | None, verb: str, said: list[str]
) -> Mask:
    """Return the rows that entries and list mean together."""
    found = taxa.rows([])
    if entries:
        found |= _on_any(taxa, entries, verb, said)
    if names is not None:
        found |= _on_list(taxa, names, verb, said)
    return found


def _on_list(taxa: TaxonIndex, names_list: NameList, verb: str, said: list[str]) -> Mask:
    """Return the rows of a list of names; say how many are known, and name some that are not."""
    terms, path = read_names(names_list), names_list.path
    found = taxa.rows([])
    unknown: list[str] = []
    for rank in dict.fromkeys(rank for rank, _ in terms):
        if rank not in {ANY, *taxa.keys}:
            raise LabelSetError(
                f"{path.name} lists names of the rank {rank}, and the labels have no ranks.",
                remedy="List the labels' own names, one a line.",
                file=str(path),
            )
        names = [name for key, name in terms if key == rank]
        named = _called(taxa, names) if rank == ANY else taxa.having(rank, names)
        found |= named.mask
        unknown += named.unknown
    said.append(
        f"{path.name} {verb} {int(found.sum()):,}: {len(terms) - len(unknown):,} of its "
        f"{len(terms):,} names are known."
    )
    if unknown:
        more = len(unknown) - _SHOWN
        shown = ", ".join(repr(name) for name in unknown[:_SHOWN])
        said.append(f"Not known: {shown}{f' and {more:,} more' if more > 0 else ''}.")
    return found


def _called(taxa: TaxonIndex, names: Sequence[str]) -> NamedRows:
    """Return the rows of names of any kind; a species' author is left out where he stands."""
    named = taxa.called(names)
    bare = {name: without_author(name) for name in named.unknown}
    bare = {name: short for name, short in bare.items() if short != name}
    if not bare:
        return named
    again = taxa.called(list(dict.fromkeys(bare.values())))
    left = set(again.unknown)
    unknown = tuple(name for name in named.unknown if name not in bare or bare[name] in left)
    return NamedRows(named.mask | again.mask, unknown)


def _on_any(taxa: TaxonIndex, entries: Sequence[str], verb: str, said: list[str]) -> Mask:
    """Return the rows on any branch, and say how many each has and what no row has."""
    branches = [parse_branch(entry, taxa.keys) for entry in entries]
    found = taxa.rows(branches)
    counts = [int(taxa.rows([branch]).sum()) for branch in branches]
    entries = [_printable(entry) for entry in entries]
    shown = [f"{entry} {verb} {n:,}" for entry, n in zip(entries, counts, strict=True)]
    if len(shown) > _COUNTED:
        said.append(f"{len(shown)} branches together: {verb.rstrip('s')} {int(found.sum()):,}.")
    else:
        said.append("; ".join(shown) + ".")
    for entry, branch, count in zip(entries, branches, counts, strict=True):
        unknown = list(_unknown(taxa, branch))
        if unknown:
            said.append(f"No label has {', '.join(unknown)}: check the spelling.")
        elif count < _FEW and any(key in _BROAD for key, _ in branch):
            said.append(
                f"{entry} {verb} {count:,} only: many labels lack a rank, bony fish their class "
                "for one. Name what is above or below it as well."
            )
    return found


def _unknown(taxa: TaxonIndex, branch: Sequence[Term]) -> Iterator[str]:
    for key, name in branch:
        if taxa.having(key, [name]).unknown:
            yield _printable(f"{key}={name}")


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)


def parse_branch(entry: str, keys: Sequence[str]) -> tuple[Term, ...]:
    """Return the terms of `class=Aves` or `class=Aves,order=Passeriformes`."""
    return tuple(_term(term, keys) for term in _BETWEEN_TERMS.split(entry))


def _term(term: str, keys: Sequence[str]) -> Term:
    key, equals, value = (part.strip() for part in term.partition("="))
    if equals and value and key in keys:
        return key, value
    raise LabelSetError(
        f"{term!r} is not a filter that this label set knows.",
        remedy=f"Write KEY=VALUE with one of these keys: {', '.join(keys)} (example: class=Aves).",
    )
