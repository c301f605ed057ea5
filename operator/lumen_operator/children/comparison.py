"""What of a service's children is not as rendered, and a memory of it for children at rest. Pure.

Rendering and comparing is most of what a decision costs, and most decisions are about children that
are as they should be. What `Memory` keeps, it tells only where everything that the comparison was
made from is the same: with or without it, the answer is the same.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lumen_manifest.render.context import Manifest
from lumen_operator.children.checks import field_taken
from lumen_operator.children.ownership import taken_by_other
from lumen_operator.children.plan import DesiredChildren, render_children
from lumen_operator.children.subset import contained
from lumen_operator.diagnose.finding import Finding
from lumen_operator.observe import decode
from lumen_operator.observe.gather import Child
from lumen_operator.observe.kinds import kind_of
from lumen_operator.observe.managed_fields import has_leftovers

Raw = Mapping[str, Any]


class Comparison(NamedTuple):
    """What comparing the children came to.

    `rendered` names those that there shall be, `apply` has those of them that differ from what is
    observed, `taken` says who else applies a field of ours. `foreign` says whose an object is that
    has a child's name and is somebody else's: then nothing is to be applied.
    """

    rendered: frozenset[Child]
    apply: tuple[Manifest, ...]
    taken: Finding | None
    foreign: Finding | None = None


class _Rest(NamedTuple):
    """Children that are as they should be: what was wanted and observed, and what that came to."""

    wanted: DesiredChildren
    children: Mapping[Child, Raw]
    found: Comparison


class Memory:
    """The last comparison of one service's children, if it found nothing to apply.

    What is observed must be replaced, never changed: `Cache` promises it.
    """

    def __init__(self) -> None:
        self._rest: _Rest | None = None

    def compare(self, children: Mapping[Child, Raw], wanted: DesiredChildren) -> Comparison:
        """Return what `compare` does, by remembering it where nothing changed."""
        rest = self._rest
        same = rest is not None and rest.wanted == wanted and _same(rest.children, children)
        found = rest.found if rest is not None and same else compare(children, wanted)
        self._rest = None if found.apply else _Rest(wanted, children, found)
        return found


def compare(children: Mapping[Child, Raw], wanted: DesiredChildren) -> Comparison:
    """Render the children and compare them with those that are observed."""
    rendered = render_children(wanted)
    names = frozenset(_name_of(each) for each in rendered)
    foreign = _foreign(children, rendered)
    if foreign is not None:
        return Comparison(names, (), None, foreign)
    return Comparison(
        rendered=names,
        apply=tuple(each for each in rendered if _differs(children, each)),
        taken=field_taken(children, rendered),
    )


def _name_of(manifest: Manifest) -> Child:
    return kind_of(manifest).plural, manifest["metadata"]["name"]


def _foreign(children: Mapping[Child, Raw], rendered: Iterable[Manifest]) -> Finding | None:
    """Return the first finding about an object that is somebody else's."""
    there = ((each, children.get(_name_of(each))) for each in rendered)
    found = (taken_by_other(each, stored) for each, stored in there if stored is not None)
    return next((each for each in found if each is not None), None)


def _differs(children: Mapping[Child, Raw], manifest: Manifest) -> bool:
    stored = children.get(_name_of(manifest))
    if stored is None:
        return True
    if decode.mapping(stored, "metadata").get("deletionTimestamp"):
        return False  # it can only be made anew once it is gone
    return not contained(manifest, stored) or has_leftovers(manifest, stored)


def _same(before: Mapping[Child, Raw], now: Mapping[Child, Raw]) -> bool:
    """Return whether the same children say the same, whatever their controllers report."""
    return before.keys() == now.keys() and all(
        decode.same_but_for_status(raw, now[name]) for name, raw in before.items()
    )
