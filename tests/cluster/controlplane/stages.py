"""The lives of simulated nodes and pods, as the Stage documents that kwok reads.

A stage says which pods it is for (pod_steps.py), how long it waits, and what it writes into their
status (pod_statuses.py). Every pod is first placed, as a kubelet would begin with it; where it goes
from there is its behaviour's (nodes.py lists them). What a failing container goes through is what a
kubelet reports: it ends, its restart is put off for longer each time, it runs again.
"""

from typing import Any

from controlplane import pod_statuses as write
from controlplane import pod_steps as after
from controlplane.nodes import Behaviour

_READY = (Behaviour.READY, Behaviour.SLOW)
_FAILING = (Behaviour.INIT_FAILS, Behaviour.CRASH_LOOP, Behaviour.OOM)
_PULLING = (Behaviour.IMAGE_PULL,)
_UNREADY = (Behaviour.NEVER_READY,)
_EVICTED = (Behaviour.EVICTED,)


def stages() -> list[dict[str, Any]]:
    """Return every stage; for any state of a pod at most one of them is meant."""
    return [
        _NODE,
        _stage("placed", ["new"], after.AT_ONCE, {"statusTemplate": write.PLACED}),
        _stage("gone", ["deleted"], after.STOP_DELAY, {"delete": True}),
        _step(_READY, "begun", after.SUCCESS_DELAY, write.SUCCEEDED),
        _step(_FAILING, "begun", after.FAILURE_DELAY, write.FAILED),
        _step(_FAILING, "ended", after.A_MOMENT, write.PUT_OFF),
        _step(_FAILING, "put-off", after.BACK_OFF, write.RUNS_AGAIN),
        _step(_PULLING, "begun", after.A_MOMENT, write.PULL_FAILED),
        _step(_PULLING, "pulled", after.A_MOMENT, write.PULL_PUT_OFF),
        _step(_UNREADY, "begun", after.A_MOMENT, write.UNREADY),
        _step(_EVICTED, "begun", after.EVICTION_DELAY, write.EVICTED),
    ]


def _step(
    behaviours: tuple[Behaviour, ...], come_to: str, delay: str, template: str
) -> dict[str, Any]:
    states = [f"{behaviour} {come_to}" for behaviour in behaviours]
    return _stage(f"{behaviours[0]}-{come_to}", states, delay, {"statusTemplate": template})


def _stage(name: str, states: list[str], delay: str, then: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"pod-{name}"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {
                "matchExpressions": [{"key": after.STATE, "operator": "In", "values": states}]
            },
            "delay": {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": delay}},
            "next": then,
        },
    }


_NODE: dict[str, Any] = {
    "apiVersion": "kwok.x-k8s.io/v1alpha1",
    "kind": "Stage",
    "metadata": {"name": "node-ready"},
    "spec": {
        "resourceRef": {"apiGroup": "v1", "kind": "Node"},
        "selector": {
            "matchExpressions": [
                {
                    "key": '.status.conditions.[] | select(.type == "Ready") | .status',
                    "operator": "NotIn",
                    "values": ["True"],
                }
            ]
        },
        "next": {
            "statusTemplate": """
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
nodeInfo:
  architecture: amd64
  bootID: ""
  containerRuntimeVersion: {{ printf "kwok-%s" Version | Quote }}
  kernelVersion: ""
  kubeProxyVersion: ""
  kubeletVersion: v1.36.3
  machineID: ""
  operatingSystem: linux
  osImage: kwok
  systemUUID: ""
phase: Running
"""
        },
    },
}
