"""What the operator would still write, and what the API server says that an apply would change.

The first is asked of the operator's own pure functions on what is stored now: they find nothing to
do unless an event was lost or two of them disagree. The second is a dry run of every apply.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from lane_sight import Seen

from lumen_cluster.client import APPLY_PATCH
from lumen_cluster.kinds import object_path
from lumen_manifest.names import FIELD_MANAGER
from lumen_operator.children.desired import render_children, wanted
from lumen_operator.decide import decide_pool, decide_service
from lumen_operator.observe.gather import gather_pool, gather_service
from lumen_operator.observe.kinds import Key, kind_of
from lumen_operator.rollout.model import variants_of
from lumen_operator.rollout.plan import plan_rollout

Raw = Mapping[str, Any]


def undecided(seen: Seen) -> Iterator[str]:
    """Say what the operator would still write if it saw all that there is."""
    now = datetime.now(UTC)
    for key in _keys(seen):
        observed = gather_service(seen.found, {}, key, now)
        assert observed is not None
        decision = decide_service(observed, seen.context, now)
        for each in decision.apply:
            what = f"{kind_of(each).kind} {each['metadata']['name']}"
            yield f"{key.name}: {what} is to be applied"
        for ref in decision.delete:
            yield f"{key.name}: {ref.plural} {ref.name} is to be deleted"
        if decision.status is not None:
            was = observed.raw.get("status", {})
            yield f"{key.name}: its status is to be written: {difference(was, decision.status)}"
    for raw in seen.pools:
        pool = gather_pool(seen.found, Key("pool", "", raw["metadata"]["name"]))
        if pool is not None and decide_pool(pool, now).status is not None:
            yield f"pool {pool.key.name}: its status is to be written"


def is_due(seen: Seen, within_s: float) -> bool:
    """Return whether time alone will soon change a decision: a deadline runs."""
    now = datetime.now(UTC)
    for key in _keys(seen):
        observed = gather_service(seen.found, {}, key, now)
        if observed is None or (observed.service is not None and observed.service.spec.external):
            continue
        requeue_after_s = decide_service(observed, seen.context, now).requeue_after_s
        if requeue_after_s is not None and requeue_after_s <= within_s:
            return True
    return False


def would_change(seen: Seen) -> list[str]:
    """Return what an apply of the rendered children would change, by the API server's word."""
    return [
        f"an apply of {kind_of(each).kind} {each['metadata']['name']} would change it"
        for key in _keys(seen)
        for each in _rendered(seen, key)
        if _applied(seen, each)
    ]


def _keys(seen: Seen) -> Iterator[Key]:
    for raw in seen.services:
        yield Key("service", seen.namespace, raw["metadata"]["name"])


def _rendered(seen: Seen, key: Key) -> tuple[dict[str, Any], ...]:
    observed = gather_service(seen.found, {}, key, datetime.now(UTC))
    if observed is None or observed.service is None or observed.service.spec.external:
        return ()
    service = observed.service
    pool = observed.pools.get(service.spec.pool or "")
    if pool is None or service.spec.model.runtime not in pool.spec.runtimes:
        return ()
    rollouts = [plan_rollout(observed, each) for each in variants_of(service, pool)]
    return render_children(wanted(observed, rollouts, seen.context))


def _applied(seen: Seen, manifest: dict[str, Any]) -> bool:
    """Apply in a dry run; return whether the object would be another one."""
    kind, name = kind_of(manifest), manifest["metadata"]["name"]
    answer = seen.cluster.http.patch(
        object_path(kind, seen.namespace, name),
        json=manifest,
        params={"fieldManager": FIELD_MANAGER, "force": "true", "dryRun": "All"},
        headers={"Content-Type": APPLY_PATCH},
    )
    assert answer.is_success, answer.text
    stored = seen.found.get(kind, seen.namespace, name)
    return stored is None or _content(stored) != _content(answer.json())


def difference(was: Any, shall: Any, at: str = "") -> str:
    """Return where two documents differ."""
    if isinstance(was, Mapping) and isinstance(shall, Mapping):
        keys = sorted({*was, *shall})
        parts = (difference(was.get(k), shall.get(k), f"{at}.{k}") for k in keys)
        return "; ".join(filter(None, parts))
    if isinstance(was, list) and isinstance(shall, list | tuple) and len(was) == len(shall):
        parts = (
            difference(a, b, f"{at}[{n}]") for n, (a, b) in enumerate(zip(was, shall, strict=True))
        )
        return "; ".join(filter(None, parts))
    return "" if was == shall else f"{at}: {was!r} -> {shall!r}"


def _content(raw: Raw) -> dict[str, Any]:
    """Return an object without what every write changes."""
    metadata = {
        k: v for k, v in raw["metadata"].items() if k not in {"managedFields", "generation"}
    }
    return {**raw, "metadata": metadata}
