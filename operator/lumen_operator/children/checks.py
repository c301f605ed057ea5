"""Whether a spec can be carried out: pure findings, in the order in which they are told.

`blocking` findings leave the children as they are; with `advisory` ones the service runs all the
same, and the condition Accepted says what is wrong.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.render.context import Manifest
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.observe.gather import Child, Observed
from lumen_operator.observe.kinds import kind_of
from lumen_operator.observe.managed_fields import rival_of

Raw = Mapping[str, Any]
Check = Callable[[Observed], Finding | None]
ACCEPTED = ConditionType.ACCEPTED


def spec_invalid(observed: Observed) -> Finding | None:
    """The spec breaks a rule that the API server did not check."""
    if observed.service is not None:
        return None
    return find(ACCEPTED, Reason.INVALID_SPEC, observed.problem, final=True)


def pool_unknown(observed: Observed) -> Finding | None:
    """spec.pool names no pool, or one whose own spec cannot be used."""
    name = observed.service.spec.pool if observed.service else None
    if name is None or name in observed.pools:
        return None
    said = f"There is no LumenNodePool {name}, or its spec cannot be used."
    return find(ACCEPTED, Reason.UNKNOWN_POOL, said, pool=name)


def runtime_not_on_pool(observed: Observed) -> Finding | None:
    """The pool has no image for the runtime."""
    service = observed.service
    pool = observed.pools.get(service.spec.pool or "") if service else None
    if service is None or pool is None or service.spec.model.runtime in pool.spec.runtimes:
        return None
    said = f"Pool {pool.name} does not run {service.spec.model.runtime}."
    runtimes = ", ".join(pool.spec.runtimes)
    return find(ACCEPTED, Reason.RUNTIME_NOT_ON_POOL, said, runtimes=runtimes)


def default_taken(observed: Observed) -> Finding | None:
    """An older service of the family is the namespace's default already."""
    service, other = observed.service, observed.older_default
    if service is None or not other:
        return None
    said = (
        f"{other} is the default for {service.spec.family} in this namespace already, and older. "
        f"{service.name} answers under its own name."
    )
    return find(ACCEPTED, Reason.DEFAULT_CONFLICT, said, other=other)


BLOCKING: tuple[Check, ...] = (spec_invalid, pool_unknown, runtime_not_on_pool)
ADVISORY: tuple[Check, ...] = (default_taken,)


def first_of(checks: Iterable[Check], observed: Observed) -> Finding | None:
    """Return the first finding of these checks."""
    return next((found for check in checks if (found := check(observed))), None)


def field_taken(children: Mapping[Child, Raw], rendered: Iterable[Manifest]) -> Finding | None:
    """Another manager applies a field that we render."""
    for manifest in rendered:
        kind, name = kind_of(manifest), manifest["metadata"]["name"]
        stored = children.get((kind.plural, name))
        rival = rival_of(manifest, stored) if stored is not None else None
        if rival is not None:
            said = f"{rival.manager} applies {rival.field} of {kind.kind} {name} too."
            todo = (
                f"Stop {rival.manager} from applying it; set it in the LumenModelService instead."
            )
            return find(ACCEPTED, Reason.FIELD_CONFLICT, said, remedy=todo)
    return None
