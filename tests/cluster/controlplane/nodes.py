"""Nodes and pods that kwok plays: what they offer, and how pods behave (stages.py).

A pod's behaviour is an annotation of the pod, so usually of `podTemplate`; it may be changed while
the pod lives. These annotations say more:

- DELAY: how long its first init container (without one, its first container) takes, such as `3s`;
- CONTAINER: whom the behaviour befalls; by default the first init container where the behaviour is
  about those or about images, and the first container otherwise;
- TERMINATION_MESSAGE: what that container leaves behind when it ends, badly or, as an init
  container of a pod that gets ready, well.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

_PREFIX = "kwok.lumen.dev"
BEHAVIOUR = f"{_PREFIX}/behaviour"
DELAY = f"{_PREFIX}/delay"
CONTAINER = f"{_PREFIX}/container"
TERMINATION_MESSAGE = f"{_PREFIX}/termination-message"


DOWN = f"{_PREFIX}/down"
"""A label of a node that nobody keeps Ready any more: what is written into its status stays."""


class Behaviour(StrEnum):
    """How a pod behaves once it is on a node."""

    READY = "ready"
    """Ready after a fifth of a second, or after DELAY; pods that say nothing do this."""
    SLOW = "slow"
    """Its first container to run takes a minute, or DELAY; then it gets ready."""
    INIT_FAILS = "init-fails"
    """An init container ends with TERMINATION_MESSAGE, again and again."""
    CRASH_LOOP = "crash-loop"
    """The server ends with TERMINATION_MESSAGE, again and again."""
    OOM = "oom"
    """The server is killed for its memory, again and again."""
    IMAGE_PULL = "image-pull"
    """An image cannot be pulled."""
    CONFIG_ERROR = "config-error"
    """Its first container cannot be made, for what TERMINATION_MESSAGE says is missing."""
    NOT_SET_UP = "not-set-up"
    """Its node never gets as far as a container."""
    NEVER_READY = "never-ready"
    """The server runs and its probes fail."""
    EVICTED = "evicted"
    """The kubelet evicts it for its volume, with TERMINATION_MESSAGE, a second (or DELAY) on."""


def node(
    name: str,
    labels: Mapping[str, str],
    devices: Mapping[str, int],
    taints: tuple[Mapping[str, str], ...],
) -> dict[str, Any]:
    """Return a node with plenty of room and these devices."""
    room = {
        "cpu": "64",
        "memory": "256Gi",
        "ephemeral-storage": "1Ti",
        "pods": "1000",
        **{resource: str(count) for resource, count in devices.items()},
    }
    well_known = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    return {
        "metadata": {"name": name, "labels": {**well_known, **labels}},
        "spec": {"taints": [dict(taint) for taint in taints]},
        "status": {"allocatable": room, "capacity": room},
    }


def is_usable(found: Mapping[str, Any] | None) -> bool:
    """Return whether the node is Ready and the API server's own taint is off it."""
    if found is None:
        return False
    conditions = found.get("status", {}).get("conditions", [])
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    taints = found.get("spec", {}).get("taints", [])
    return ready and not any(each["key"] == "node.kubernetes.io/not-ready" for each in taints)
