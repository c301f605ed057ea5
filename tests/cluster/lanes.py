"""A lane: one namespace in which a script is carried out, with pools and a node of its own.

Lanes do not touch each other, so many of them run beside each other under one operator and share
each wait for quiet.
"""

from collections.abc import Callable, Iterable
from typing import Any

import httpx
from cluster_objects import a_pool, a_service
from controlplane.cluster import Cluster, unique_name
from controlplane.nodes import BEHAVIOUR, TERMINATION_MESSAGE
from lane_scripts import (
    METADATA_DAMAGE,
    MODELS,
    POOL_CHANGES,
    RIVALS,
    SPEC_CHANGES,
    SPEC_DAMAGE,
    Round,
    Step,
    verified,
)
from operator_lab import CARD, path_of
from operator_world import merged

Raw = dict[str, Any]

CARDS = 2
MISLAYING = [
    METADATA_DAMAGE[how] for how in ("no owner", "no service's label", "another service's label")
]
"""Damage that only an apply repairs: what is rendered no more stays as it is."""
MERGE = {"Content-Type": "application/merge-patch+json"}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}
RIVAL = {"fieldManager": "rival", "force": "true"}
CHANGED_MEANWHILE = (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT)


class Lane:
    """A namespace, and what its user does there."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.namespace = unique_name("lane")
        self.notes: set[tuple[str, str]] = set()
        self.mislaid: set[str] = set()
        cluster.create_namespace(self.namespace)
        self._node = f"{self.namespace}-cards"
        taint = {"key": "lumen.test/cards", "value": self.namespace, "effect": "NoSchedule"}
        labels = {"lumen.test/lane": self.namespace}
        cluster.add_node(self._node, labels, {CARD: CARDS}, (taint,))
        self._verbs: dict[str, Callable[[Step], None]] = {
            "edit": self._edit,
            "move": self._move,
            "scale": self._scale,
            "damage": self._damage,
            "misbehave": self._misbehave,
            "delete a pod": self._delete_a_pod,
            "pool": self._change_pool,
            "cards": self._offer_cards,
            "delete": self._delete,
            "make anew": self._make_anew,
        }
        for name, spec in self._pools().items():
            self._make_pool(name, spec)

    def take(self, step: Step) -> None:
        """Carry out one step."""
        self._verbs[step.verb](step)

    def pool(self, name: str) -> str:
        """Return the name of a pool of the lane's own."""
        return f"{self.namespace}-{name}"

    def path(self, plural: str, name: str = "") -> str:
        """Return the API path of objects in the namespace."""
        return path_of(plural, self.namespace, name)

    def service(self, name: str) -> Raw | None:
        """Return a service as stored; None when there is none."""
        return self.cluster.get(self._service_path(name))

    def lost_notes(self) -> list[str]:
        """Return what of other people's fields is gone, though its object is still there."""
        lost = []
        for path, uid in sorted(self.notes):
            metadata = (self.cluster.get(path) or {}).get("metadata", {})
            kept = metadata.get("annotations", {}).get("example.com/note")
            if metadata.get("uid") == uid and kept != "keep":
                lost.append(f"somebody's note on {path} is gone")
        return lost

    def _pools(self) -> dict[str, Raw]:
        return {
            "main": {"accelerator": "cpu"},
            "cards": {
                "accelerator": "cuda",
                "nodeSelector": {"lumen.test/lane": self.namespace},
                "tolerations": [{"key": "lumen.test/cards", "operator": "Exists"}],
                "device": {"resource": CARD, "count": 1},
            },
        }

    def _make_pool(self, name: str, spec: Raw) -> None:
        self.cluster.create(path_of("lumennodepools"), a_pool(self.pool(name), **spec))

    def _service_path(self, name: str) -> str:
        return self.path("lumenmodelservices", name)

    def _create(self, name: str, change: Raw) -> None:
        annotations = {TERMINATION_MESSAGE: verified(next(iter(MODELS)))}
        pods = {"replicas": 1, "podTemplate": {"annotations": annotations}}
        spec = a_service(pool=self.pool("main"), **pods)["spec"]
        document = a_service(name) | {"spec": merged(spec, change)}
        self.cluster.create(self.path("lumenmodelservices"), document)

    def _change(self, name: str, change: Raw) -> None:
        """Edit a service, or make it with the change."""
        if self.service(name) is None:
            self._create(name, change)
        else:
            self.cluster.patch(self._service_path(name), {"spec": change})

    def _edit(self, step: Step) -> None:
        self._change(step.service, SPEC_CHANGES[step.detail])

    def _move(self, step: Step) -> None:
        self._change(step.service, {"pool": self.pool(step.detail), "external": None})

    def _scale(self, step: Step) -> None:
        path = self._service_path(step.service)
        if self.service(step.service) is None:
            self._create(step.service, {"replicas": step.detail})
        else:
            self.cluster.patch(f"{path}/scale", {"spec": {"replicas": step.detail}})

    def _delete(self, step: Step) -> None:
        self.cluster.delete(self._service_path(step.service))

    def _make_anew(self, step: Step) -> None:
        """Delete a service and make its successor before its children are gone."""
        self._delete(step)
        self._create(step.service, {})

    def _damage(self, step: Step) -> None:
        kind, how = step.detail
        for name in self._labelled(kind, step.service):
            path = self.path(kind, name)
            if how == "deleted":
                self.cluster.delete(path)
            elif how in RIVALS:
                self._apply_as_rival(path, RIVALS[how])
            else:
                self._change_child(path, METADATA_DAMAGE.get(how) or SPEC_DAMAGE[kind][how])

    def _change_child(self, path: str, change: Raw) -> None:
        answer = self.cluster.http.patch(path, json=change, headers=STRATEGIC)
        assert answer.is_success or answer.status_code in CHANGED_MEANWHILE, answer.text
        uid = answer.json().get("metadata", {}).get("uid", "")
        if change == METADATA_DAMAGE["somebody's note"]:
            self.notes.add((path, uid))
        elif change in MISLAYING:
            self.mislaid.add(uid)

    def _apply_as_rival(self, path: str, change: Raw) -> None:
        stored = self.cluster.get(path)
        if stored is None:
            return
        document = merged({k: stored[k] for k in ("apiVersion", "kind")}, change)
        answer = self.cluster.http.patch(path, json=document, params=RIVAL, headers=APPLY)
        assert answer.is_success or answer.status_code in CHANGED_MEANWHILE, answer.text

    def _misbehave(self, step: Step) -> None:
        """Let the pods that run behave otherwise."""
        change = {"metadata": {"annotations": {BEHAVIOUR: step.detail}}}
        for name in self._labelled("pods", step.service):
            path = self.path("pods", name)
            answer = self.cluster.http.patch(path, json=change, headers=MERGE)
            assert answer.is_success or answer.status_code in CHANGED_MEANWHILE, answer.text

    def _delete_a_pod(self, step: Step) -> None:
        for name in self._labelled("pods", step.service)[:1]:
            self.cluster.delete(self.path("pods", name))

    def _change_pool(self, step: Step) -> None:
        path = path_of("lumennodepools", name=self.pool(step.service))
        change = POOL_CHANGES[step.detail]
        there = self.cluster.get(path) is not None
        if there and change is None:
            self.cluster.delete(path)
        elif there:
            self.cluster.patch(path, {"spec": change})
        else:
            self._make_pool(step.service, merged(self._pools()[step.service], change or {}))

    def _offer_cards(self, step: Step) -> None:
        """Let the node offer that many devices, as its device plugin would."""
        offered = {CARD: str(step.detail)}
        change = {"status": {"allocatable": offered, "capacity": offered}}
        path = f"/api/v1/nodes/{self._node}/status"
        assert self.cluster.http.patch(path, json=change, headers=STRATEGIC).is_success

    def _labelled(self, plural: str, service: str) -> list[str]:
        selector = {"labelSelector": f"lumen.dev/service={service}"}
        found = self.cluster.http.get(self.path(plural), params=selector).json()
        return [each["metadata"]["name"] for each in found["items"]]


def told(script: Iterable[Round]) -> str:
    """Write rounds down so that they can be typed in again."""
    return "\n".join(f"    {each}," for each in script)
