"""What the manifest's filters keep of a label set, and what is to be said of it.

Called when files are checked, and by the server for the labels that it answers with.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lumen_resources.errors import LabelSetError
from lumen_resources.labels.label_sets import Labels
from lumen_resources.labels.taxa import Mask, TaxonIndex, Term
from lumen_resources.model.layouts import LabelSetFiles
from lumen_terms.taxonomy import Rank

# Below the family a taxon may well have one species; above it, so few say that a rank is missing.
_BROAD = frozenset({Rank.KINGDOM, Rank.PHYLUM, Rank.CLASS, Rank.ORDER})
_FEW = 100
# A name may contain a comma, as `Robin, European` does.
_BETWEEN_TERMS = re.compile(rf",\s*(?=(?:{'|'.join(Rank)}|name)\s*=)")
# Counts of so many are told one by one.
_COUNTED = 10


@dataclass(frozen=True, slots=True)
class Kept:
    """The labels that stay: `mask` bool [N], None where nothing is left out."""

    mask: Mask | None
    remarks: tuple[str, ...]


def kept(labels: Labels, files: LabelSetFiles) -> Kept:
    """Return what a set's include and exclude keep, each entry a branch of the taxonomy.

    A label stays when it is on any included branch (or there is none) and on no excluded one.
    Raises LabelSetError for a term that the set has no key for.
    """
    if not files.include and not files.exclude:
        return Kept(None, ())
    taxa = labels.taxa()
    mask = np.ones(len(labels), np.bool_)
    said: list[str] = []
    if files.include:
        mask = _on_any(taxa, files.include, "keeps", said)
    if files.exclude:
        mask &= ~_on_any(taxa, files.exclude, "drops", said)
    said.append(f"{int(mask.sum()):,} of {len(labels):,} labels are in use.")
    return Kept(mask, tuple(said))


def _on_any(taxa: TaxonIndex, entries: Sequence[str], verb: str, said: list[str]) -> Mask:
    """Return the rows on any branch, and say how many each has and what no row has."""
    branches = [parse_branch(entry, taxa.keys) for entry in entries]
    found = taxa.rows(branches)
    counts = [int(taxa.rows([branch]).sum()) for branch in branches]
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
            yield f"{key}={name}"


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
