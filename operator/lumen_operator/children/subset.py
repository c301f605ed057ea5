"""Whether an apply would change anything: is what we render contained in what is observed?

What others add stays out of it, except where a list or mapping counts as one value. The API server
drops defaults when it stores, so a missing value is false, "", [] and {}; it rewrites quantities,
so those are compared by value. Fields that we applied once and render no more are seen in
`managed_fields`.
"""

from collections.abc import Mapping
from typing import Any

from lumen_manifest.spec.field_types import amount_of

Path = tuple[str, ...]

MERGED_BY: Mapping[str, Path] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
"""Lists that several managers share, and what tells their entries apart."""

ONE_VALUE = frozenset(
    {"nodeSelector", "matchLabels", "labelSelector", "selector", "podSelector", "namespaceSelector"}
)
"""Mappings that count as one value: a key that somebody adds changes what they mean."""

_CONTAINERS = (("containers",), ("initContainers",))
_QUANTITIES = frozenset({"limits", "requests"})
_QUANTITY = frozenset({"sizeLimit", "averageValue", "divisor"})


def contained(rendered: Any, observed: Any) -> bool:
    """Return whether every field of `rendered` has its value in `observed`."""
    return _within(rendered, observed, (), exact=False)


def merge_keys(path: Path) -> Path:
    """Return what tells the entries of a list apart; nothing for a list that is one value."""
    if path[-1:] == ("ports",):
        if path == ("spec", "ports"):
            return ("port", "protocol")
        return ("containerPort", "protocol") if path[-2:-1] in _CONTAINERS else ()
    return MERGED_BY.get(path[-1], ()) if path else ()


def _within(rendered: Any, observed: Any, path: Path, *, exact: bool) -> bool:
    # Most of what is stored is what was rendered; dictionaries compare quickly.
    if rendered == observed or (_empty(rendered) and _empty(observed)):
        return True
    if isinstance(rendered, dict):
        return _mapping_within(rendered, observed, path, exact=exact)
    if isinstance(rendered, list):
        return _list_within(rendered, observed, path)
    return _holds_quantity(path) and _same_quantity(rendered, observed)


def _mapping_within(rendered: dict[str, Any], observed: Any, path: Path, *, exact: bool) -> bool:
    there = {} if _empty(observed) else observed
    if not isinstance(there, dict):
        return False
    exact = exact or not ONE_VALUE.isdisjoint(path[-1:])
    if exact and any(not _empty(there[key]) for key in there.keys() - rendered.keys()):
        return False
    return all(
        _within(value, there.get(key), (*path, key), exact=exact) for key, value in rendered.items()
    )


def _list_within(rendered: list[Any], observed: Any, path: Path) -> bool:
    there = [] if _empty(observed) else observed
    if not isinstance(there, list):
        return False
    keys = merge_keys(path)
    if not keys:
        return len(rendered) == len(there) and all(
            _within(mine, theirs, path, exact=True)
            for mine, theirs in zip(rendered, there, strict=True)
        )
    by_key = {_key(each, keys): each for each in there}
    return all(_within(each, by_key.get(_key(each, keys)), path, exact=False) for each in rendered)


def _key(entry: Any, keys: Path) -> tuple[str, ...]:
    return tuple(str(entry.get(key)) for key in keys) if isinstance(entry, dict) else ()


def _empty(value: Any) -> bool:
    """Return whether a value says no more than its absence; 0 says something."""
    return value is None or value is False or (not value and isinstance(value, str | list | dict))


def _holds_quantity(path: Path) -> bool:
    return not (_QUANTITY.isdisjoint(path[-1:]) and _QUANTITIES.isdisjoint(path[-2:-1]))


def _same_quantity(one: Any, other: Any) -> bool:
    first, second = amount_of(str(one)), amount_of(str(other))
    return first is not None and first == second
