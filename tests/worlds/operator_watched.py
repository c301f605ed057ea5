"""A cluster as the operator watches it: through its cache, told of one change at a time.

The cache keeps copies, each state another one, as watches deliver them. Children carry the fields
that their appliers own; beside what `operator_cluster` does, others may write into any object.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st
from operator_cluster import (
    ACTORS,
    CRASHING_BATCH,
    FOREIGN_SPACE,
    GOOD_BATCHES,
    SAME_SPACE,
    Cluster,
    Step,
)

from lumen_cluster.kinds import DEPLOYMENTS, HPAS, NETWORK_POLICIES, PDBS, REPLICA_SETS, ObjectKind
from lumen_cluster.store import uid_of
from lumen_manifest.names import FIELD_MANAGER
from lumen_operator.children.desired import Memory
from lumen_operator.children.subset import merge_keys
from lumen_operator.decide import Decision, decide_pool, decide_service
from lumen_operator.observe.gather import Observed, gather_pool, gather_service
from lumen_operator.observe.kinds import CHILD_KINDS, POOLS, WATCHED_KINDS, Key, kind_of
from lumen_operator.observe.store import ObjectCache

Raw = dict[str, Any]
Path = tuple[str | int, ...]
Where = tuple[str, str, str]
Change = tuple[ObjectKind, Raw | None, Raw | None]
"""An object of a kind, before and after; None where it was not there."""

KINDS = {kind.plural: kind for kind in WATCHED_KINDS}
CHILDREN = frozenset(kind.plural for kind in CHILD_KINDS)
UNTOUCHED = {"name", "namespace", "resourceVersion", "managedFields", "apiVersion", "kind"}


values = st.sampled_from([None, 0, 1, False, True, "", "x", "True"])
places = st.integers(0, 10_000)
reports = st.sampled_from(
    [
        *((DEPLOYMENTS, {"observedGeneration": n}) for n in (0, 1, 9)),
        *((kind, {"replicas": n}) for kind in (DEPLOYMENTS, REPLICA_SETS, HPAS) for n in (0, 3)),
        *(
            (kind, {"conditions": [{"type": "ReplicaFailure", "status": status, "message": "no"}]})
            for kind in (DEPLOYMENTS, REPLICA_SETS)
            for status in ("True", "False")
        ),
        *(
            (HPAS, {"conditions": [{"type": "ScalingActive", "status": status, "reason": "R"}]})
            for status in ("True", "False", "Unknown")
        ),
        (PDBS, {"disruptionsAllowed": 1}),
        (NETWORK_POLICIES, {"conditions": []}),
    ]
)
specs = st.sampled_from(
    [
        {"replicas": 0},
        {"replicas": 2},
        {"server": {"maxBatchSize": GOOD_BATCHES[1]}},
        {"server": {"maxBatchSize": CRASHING_BATCH}},
        {"model": {"name": SAME_SPACE}},
        {"model": {"name": FOREIGN_SPACE}},
        {"rollout": {"allowReindex": True}},
        {"autoscaling": None},
        {"pool": "cpu"},
        {"pool": "cuda"},
        {"default": True},
    ]
)
UP = [Step(each) for each in (*ACTORS, *ACTORS, "kubelet", "kubelet", "kubelet", *ACTORS)]
"""How a new service comes to serve."""

lives = st.lists(
    st.one_of(
        *(st.just(Step(each)) for each in (*ACTORS, "mend")),
        st.builds(lambda spec: Step("respecify", (spec,)), specs),
        st.builds(lambda *how: Step("write", how), places, places, values),
        reports.map(lambda how: Step("report", how)),
        st.builds(lambda *how: Step("own", how), places, places, st.sampled_from(["", "ci"])),
        st.builds(lambda n: Step("kill", (n,)), st.integers(0, 3)),
        st.builds(lambda n: Step("set_devices", (n,)), st.integers(0, 3)),
        st.builds(lambda n: Step("take_devices", (n,)), st.integers(0, 2)),
        st.builds(lambda n: Step("later", (n,)), st.sampled_from([1, 60, 4000])),
    ),
    max_size=30,
).map(lambda steps: [*UP, Step("operator"), *steps])
"""What may happen to a service from its beginning."""


class WatchedCluster(Cluster):
    """A cluster behind a cache, with a service."""

    def __init__(self, *, devices: int | None) -> None:
        super().__init__(devices=devices)
        self.cache = ObjectCache()
        self.written: dict[Where, list[tuple[Path, Any]]] = {}
        self._told: dict[Where, str] = {}
        self._version = 0
        pool = "cpu" if devices is None else "cuda"
        self.service(pool=pool, autoscaling={"maxReplicas": 3})

    def lives(self, steps: list[Step]) -> Iterator[Change]:
        """Let it happen; yield each object that changes, once the cache was told of it."""
        for step in steps:
            self.happens(step)
            yield from self.tell()

    def happens(self, step: Step) -> None:
        """Do a step, of which the cache is not told yet."""
        if step.what not in ACTORS[1:] or self.has_deployment():
            getattr(self, step.what)(*step.how)

    def tell(self) -> Iterator[Change]:
        """Tell the cache what is new, one object after the other; yield what it was told."""
        for where in sorted(self._told.keys() - self.objects.keys()):
            kind, _ = KINDS[where[0]], self._told.pop(where)
            before = self.cache.get(kind, *where[1:])
            change = self.cache.drop(kind, where[1:], uid_of(before or {}))
            assert change is not None
            yield kind, change.before, change.after
        for where, raw in sorted(self.objects.items()):
            told = self._as_written(where, raw)
            text = json.dumps(told)
            if text == self._told.get(where):
                continue
            self._told[where] = text
            self._version += 1
            told["metadata"]["resourceVersion"] = str(self._version)
            change = self.cache.put(KINDS[where[0]], told)
            assert change is not None
            yield KINDS[where[0]], change.before, change.after

    # What the operator sees, and does.

    def observe(self, key: Key) -> Observed | None:  # type: ignore[override]
        return gather_service(self.cache, self.reports, key, self.now)

    def look(self, memory: Memory | None = None) -> Decision | None:
        """Decide about the service from what the cache knows; None when it is not there."""
        observed = self.observe(self.key)
        return observed and decide_service(observed, self.context, self.now, memory)

    def look_at_all(self) -> list[Decision | None]:
        """Decide about the service and the pools."""
        pools = [Key("pool", "", raw["metadata"]["name"]) for raw in self.all(POOLS)]
        observed = [gather_pool(self.cache, key) for key in pools]
        return [self.look(), *(each and decide_pool(each, self.now) for each in observed)]

    def operator(self) -> None:
        decision = self.look()
        if decision is not None:
            self.carry_out(self.key, decision)

    def carry_out(self, key: Key, decision: Decision) -> None:
        super().carry_out(key, decision)
        for manifest in decision.apply:
            where = (kind_of(manifest).plural, key.namespace, manifest["metadata"]["name"])
            self.written.pop(where, None)
            metadata = self.objects[where]["metadata"]
            others = [x for x in metadata.get("managedFields", ()) if x["manager"] == "argocd"]
            metadata["managedFields"] = [*others, _entry(FIELD_MANAGER, manifest)]

    # What others do.

    def write(self, which: int, where: int, value: Any) -> None:
        """Let somebody write a value into an object of the service, or into a node."""
        plurals = sorted({each[0] for each in self.objects if "lumen" not in each[0]})
        if not plurals:
            return
        plural, which = plurals[which % len(plurals)], which // len(plurals)
        objects = sorted(each for each in self.objects if each[0] == plural)
        chosen = objects[which % len(objects)]
        paths = [
            path
            for path in _scalars(self.objects[chosen], ())
            if (path[0] == "metadata") == where % 2 and not UNTOUCHED & set(path[:2])
        ]
        paths.append(("metadata", "deletionTimestamp"))
        self.written.setdefault(chosen, []).append((paths[where // 2 % len(paths)], value))

    def mend(self) -> None:
        """Let everybody take back what was written."""
        self.written.clear()

    def report(self, kind: ObjectKind, status: Raw) -> None:  # type: ignore[override]
        """Let a controller report of the objects of a kind."""
        for raw in self.all(kind):
            raw["status"] = {**raw.get("status", {}), **status}

    def own(self, which: int, where: int, extra: str) -> None:
        """Let us own a field that is rendered no more, or somebody else a field of ours."""
        owned = [each for each in sorted(self.objects) if each[0] in CHILDREN]
        if not owned:
            return
        raw = self.objects[owned[which % len(owned)]]
        if extra:
            fields = {"f:metadata": {"f:labels": {f"f:{extra}{where % 3}": {}}}}
            entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
        else:
            entry = _entry("argocd", {k: v for k, v in raw.items() if k == "spec"})
        raw["metadata"].setdefault("managedFields", []).append(entry)

    def _as_written(self, where: Where, raw: Raw) -> Raw:
        """Return an object with what others wrote; None takes a field away."""
        told = copy.deepcopy(raw)
        for path, value in self.written.get(where, ()):
            _set(told, path, value)
        return told


def _entry(manager: str, manifest: Mapping[str, Any]) -> Raw:
    """Return who applied a manifest, as the API server writes it down."""
    named = {"metadata": {"name", "namespace"}, "": {"apiVersion", "kind"}}
    fields = _fields({k: v for k, v in manifest.items() if k not in named[""]}, ())
    for name in named["metadata"]:
        fields.get("f:metadata", {}).pop(f"f:{name}", None)
    return {"manager": manager, "operation": "Apply", "fieldsV1": fields}


def _fields(value: Any, path: tuple[str, ...]) -> Raw:
    if isinstance(value, dict):
        return {f"f:{key}": _fields(each, (*path, key)) for key, each in value.items()}
    keys = merge_keys(path) if isinstance(value, list) else ()
    return {
        f"k:{json.dumps({key: each[key] for key in keys if key in each})}": {
            ".": {},
            **_fields(each, path),
        }
        for each in (value if keys else ())
    }


def _scalars(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _scalars(each, (*path, key))
    else:
        yield path


def _set(document: Any, path: Path, value: Any) -> None:
    """Set a value where the way there still is."""
    *way, last = path
    for key in way:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(document, dict) and isinstance(last, str):
        if value is None:
            document.pop(last, None)
        else:
            document[last] = value
    elif isinstance(document, list) and isinstance(last, int) and last < len(document):
        document[last] = value
