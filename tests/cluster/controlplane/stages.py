"""The lives of simulated nodes and pods, as the Stage documents that kwok reads.

A stage says in jq which pods it is for and how long it waits, and in a Go template what it writes
into their status (pod_statuses.py). Every pod is first placed, as a kubelet would begin with it;
where it goes from there is its behaviour's (nodes.py lists them). What a failing container goes
through is what a kubelet reports: it ends, its restart is put off for longer each time, it runs
again.
"""

from typing import Any

from controlplane import pod_statuses as write
from controlplane.nodes import BEHAVIOUR, CONTAINER, DELAY, DOWN, Behaviour

_BEHAVIOUR = f'(.metadata.annotations["{BEHAVIOUR}"] // "{Behaviour.READY}")'
_FIRST_TO_RUN = "((.spec.initContainers // [])[0] // .spec.containers[0]).name"
_BEFALLS_THE_SERVER = f'IN("{Behaviour.CRASH_LOOP}", "{Behaviour.OOM}", "{Behaviour.NEVER_READY}")'
_WHO = (
    f'(.metadata.annotations["{CONTAINER}"] // (if {_BEHAVIOUR} | {_BEFALLS_THE_SERVER}'
    f" then .spec.containers[0].name else {_FIRST_TO_RUN} end))"
)
_STATUS_OF_WHO = (
    f"({_WHO} as $who | [.status.initContainerStatuses[]?, .status.containerStatuses[]?]"
    " | map(select(.name == $who)) | .[0])"
)
_IS_READY = '([.status.conditions[]? | select(.type == "Ready") | .status] == ["True"])'
_SUCCEEDS = f'IN("{Behaviour.READY}", "{Behaviour.SLOW}")'
_STEP = f"""(
  {_STATUS_OF_WHO} as $status
  | {_BEHAVIOUR} as $behaviour
  | {_IS_READY} as $ready
  | .status.phase as $phase
  | ($status.state.waiting.reason // "") as $waits
  | if ($behaviour | {_SUCCEEDS}) then
      (if $ready then "done" else "begun" end)
    elif $behaviour == "{Behaviour.EVICTED}" then
      (if $phase == "Failed" then "done" else "begun" end)
    elif $behaviour == "{Behaviour.NEVER_READY}" then
      (if $status.state.running and ($ready | not) then "done" else "begun" end)
    elif $behaviour == "{Behaviour.IMAGE_PULL}" then
      (if $waits == "ImagePullBackOff" then "done"
       elif $waits == "ErrImagePull" then "pulled" else "begun" end)
    elif $behaviour == "{Behaviour.CONFIG_ERROR}" then
      (if $waits == "CreateContainerConfigError" then "done" else "begun" end)
    elif $behaviour == "{Behaviour.NOT_SET_UP}" then
      (if $waits == "ContainerCreating" then "done" else "begun" end)
    elif ($status.state.terminated.exitCode // 0) != 0 then "ended"
    elif $waits == "CrashLoopBackOff" then "put-off"
    else "begun" end
)"""
# How far a pod has come: `new`, `deleted`, or a behaviour and a step of it, such as
# `crash-loop put-off`; it finds the stage that comes next.
_STATE = f"""
if .metadata.deletionTimestamp then "deleted"
elif (.status.podIP | not) then "new"
else {_BEHAVIOUR} + " " + {_STEP} end
"""

_AT_ONCE = '"0s"'
_A_MOMENT = '"200ms"'
_FAILURE_DELAY = f'.metadata.annotations["{DELAY}"] // "200ms"'
_EVICTION_DELAY = f'.metadata.annotations["{DELAY}"] // "1s"'
_SUCCESS_DELAY = (
    f'.metadata.annotations["{DELAY}"]'
    f' // (if {_BEHAVIOUR} == "{Behaviour.SLOW}" then "60s" else "200ms" end)'
)
# A kubelet begins with ten seconds; these keep the shape and spare the tests the wait.
_BACK_OFF = f'({_STATUS_OF_WHO} | .restartCount) as $count | "\\([1, 2, 4, 8, 16][$count] // 30)s"'

_READY = (Behaviour.READY, Behaviour.SLOW)
_FAILING = (Behaviour.INIT_FAILS, Behaviour.CRASH_LOOP, Behaviour.OOM)
_PULLING = (Behaviour.IMAGE_PULL,)
_UNREADY = (Behaviour.NEVER_READY,)
_EVICTED = (Behaviour.EVICTED,)
_UNMADE = (Behaviour.CONFIG_ERROR,)
_NOT_SET_UP = (Behaviour.NOT_SET_UP,)


def stages() -> list[dict[str, Any]]:
    """Return every stage; for any state of a pod at most one of them is meant."""
    return [
        _NODE,
        _stage("placed", ["new"], _AT_ONCE, {"statusTemplate": write.PLACED}),
        _stage("gone", ["deleted"], _AT_ONCE, {"delete": True}),
        _step(_READY, "begun", _SUCCESS_DELAY, write.SUCCEEDED),
        _step(_FAILING, "begun", _FAILURE_DELAY, write.FAILED),
        _step(_FAILING, "ended", _A_MOMENT, write.PUT_OFF),
        _step(_FAILING, "put-off", _BACK_OFF, write.RUNS_AGAIN),
        _step(_PULLING, "begun", _A_MOMENT, write.PULL_FAILED),
        _step(_PULLING, "pulled", _A_MOMENT, write.PULL_PUT_OFF),
        _step(_UNREADY, "begun", _A_MOMENT, write.UNREADY),
        _step(_UNMADE, "begun", _A_MOMENT, write.NOT_MADE),
        _step(_NOT_SET_UP, "begun", _A_MOMENT, write.NOT_SET_UP),
        _step(_EVICTED, "begun", _EVICTION_DELAY, write.EVICTED),
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
            "selector": {"matchExpressions": [{"key": _STATE, "operator": "In", "values": states}]},
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
                },
                {"key": f'.metadata.labels["{DOWN}"]', "operator": "DoesNotExist"},
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
