"""The operator's decisions on a real API server, one at a time: list, decide, write.

No watch, no queue: what is tried is whether decisions are right in the hands of Kubernetes' own
controllers, and whether an apply that was carried out is recognised as such.
"""

import copy
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from controlplane.cluster import Cluster

from lumen_cluster.kinds import ObjectKind
from lumen_manifest.names import FIELD_MANAGER
from lumen_operator.decide import Decision, OperatorContext, decide_service
from lumen_operator.observe.gather import gather_service
from lumen_operator.observe.kinds import SERVICES, WATCHED_KINDS, Key, kind_of
from lumen_operator.observe.views import PodReport

APPLY = {"fieldManager": FIELD_MANAGER, "force": "true"}
HEADERS = {"Content-Type": "application/apply-patch+yaml"}


class Listed:
    """A snapshot of one namespace and of what is in none, as the watches would hold it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._found: dict[tuple[str, str, str], dict[str, Any]] = {}
        for kind in WATCHED_KINDS:
            for each in _list(cluster, kind, namespace):
                metadata = each["metadata"]
                key = (kind.plural, metadata.get("namespace", ""), metadata["name"])
                # Items of a list name no kind; those of a watch do.
                self._found[key] = {"apiVersion": kind.api_version, "kind": kind.kind, **each}

    def get(self, kind: ObjectKind, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self._found.get((kind.plural, namespace, name))

    def of_service(
        self, kind: ObjectKind, namespace: str, service: str
    ) -> tuple[dict[str, Any], ...]:
        return tuple(
            each
            for each in self.all(kind, namespace)
            if each["metadata"].get("labels", {}).get("lumen.dev/service") == service
        )

    def all(self, kind: ObjectKind, namespace: str | None = None) -> tuple[dict[str, Any], ...]:
        return tuple(
            each
            for (plural, where, _), each in self._found.items()
            if plural == kind.plural and namespace in {None, where}
        )


class ByHand:
    """Decides about one service and writes what was decided."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = "clip") -> None:
        self.cluster = cluster
        self.key = Key("service", namespace, name)
        self.context = OperatorContext()
        self.reports: dict[str, PodReport] = {}

    def apply_service(self, spec: dict[str, Any]) -> None:
        """Apply the manifest as its author would."""
        document = {
            "apiVersion": SERVICES.api_version,
            "kind": SERVICES.kind,
            "metadata": {"name": self.key.name, "namespace": self.key.namespace},
            "spec": spec,
        }
        self._apply(SERVICES, document, {"fieldManager": "author", "force": "true"})

    def decide(self) -> Decision:
        now = datetime.now(UTC)
        snapshot = Listed(self.cluster, self.key.namespace)
        observed = gather_service(snapshot, self.reports, self.key, now)
        assert observed is not None
        return decide_service(observed, self.context, now)

    def step(self) -> Decision:
        """Decide once and carry it out."""
        decision = self.decide()
        for manifest in decision.apply:
            self._apply(kind_of(manifest), copy.deepcopy(manifest), APPLY)
        for ref in decision.delete:
            kind = next(each for each in WATCHED_KINDS if each.plural == ref.plural)
            self.cluster.delete(f"{_path(kind, ref.namespace)}/{ref.name}")
        if decision.status is not None:
            document = {
                "apiVersion": SERVICES.api_version,
                "kind": SERVICES.kind,
                "metadata": {"name": self.key.name, "namespace": self.key.namespace},
                "status": dict(decision.status),
            }
            self._apply(SERVICES, document, APPLY, "/status")
        return decision

    def until(
        self, holds: Callable[[dict[str, Any]], bool], what: str, within_s: float = 60.0
    ) -> dict[str, Any]:
        """Step until the status is as it should be, and return it."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            self.step()
            status = self.status()
            if holds(status):
                return status
            time.sleep(0.2)
        raise AssertionError(f"not within {within_s} s: {what}\n{json.dumps(status, indent=2)}")

    def status(self) -> dict[str, Any]:
        found = self.cluster.get(f"{_path(SERVICES, self.key.namespace)}/{self.key.name}")
        assert found is not None
        return dict(found.get("status", {}))

    def _apply(
        self, kind: ObjectKind, document: dict[str, Any], query: dict[str, str], suffix: str = ""
    ) -> None:
        metadata = document["metadata"]
        path = f"{_path(kind, metadata.get('namespace', ''))}/{metadata['name']}{suffix}"
        answer = self.cluster.http.patch(path, json=document, params=query, headers=HEADERS)
        assert answer.is_success, answer.text


def condition(status: Mapping[str, Any], type_: str) -> dict[str, Any]:
    return next((c for c in status.get("conditions", ()) if c["type"] == type_), {})


def is_ready(status: Mapping[str, Any]) -> bool:
    return condition(status, "Ready").get("status") == "True"


def _path(kind: ObjectKind, namespace: str) -> str:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    return f"{root}/namespaces/{namespace}/{kind.plural}" if namespace else f"{root}/{kind.plural}"


def _list(cluster: Cluster, kind: ObjectKind, namespace: str) -> list[dict[str, Any]]:
    found = cluster.get(_path(kind, namespace if kind.namespaced else ""))
    return list(found["items"]) if found else []
