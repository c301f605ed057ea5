"""The lives of simulated nodes and pods, as the Stage documents that kwok reads.

A stage says which pods it is for (a jq expression), how long it waits, and what it writes into
their status (a Go template). Every pod is first placed, as a kubelet would begin with it; where it
goes from there is its behaviour's (nodes.py lists them). What a failing container goes through is
what a kubelet reports: it ends, its restart is put off for longer each time, it runs again.
"""

from typing import Any

from controlplane.nodes import (
    BEHAVIOUR,
    CONTAINER,
    DELAY,
    EXIT_CODE,
    STOP_DELAY,
    TERMINATION_MESSAGE,
    Behaviour,
)

_FAILING = (Behaviour.INIT_FAILS, Behaviour.CRASH_LOOP, Behaviour.OOM)
_SUCCEEDING = (Behaviour.READY, Behaviour.SLOW)


def stages() -> list[dict[str, Any]]:
    """Return every stage; for any state of a pod at most one of them is meant."""
    return [
        _NODE,
        _pod_stage("placed", ["new"], _PLACED),
        _pod_stage("ready", _states(_SUCCEEDING, "begun"), _SUCCEEDED, _SUCCEEDS_AFTER),
        _pod_stage("ended", _states(_FAILING, "begun"), _FAILED, _FAILS_AFTER),
        _pod_stage("put-off", _states(_FAILING, "ended"), _PUT_OFF, '"200ms"'),
        _pod_stage("again", _states(_FAILING, "put-off"), _RUNS_AGAIN, _BACK_OFF),
        _pod_stage("pulls", _states([Behaviour.IMAGE_PULL], "begun"), _PULL_FAILED, '"200ms"'),
        _pod_stage("pull-off", _states([Behaviour.IMAGE_PULL], "pulled"), _PULL_OFF, '"200ms"'),
        _pod_stage("unready", _states([Behaviour.NEVER_READY], "begun"), _UNREADY, '"200ms"'),
        _pod_stage("gone", ["deleted"], None, f'.metadata.annotations["{STOP_DELAY}"] // "0s"'),
    ]


def _pod_stage(
    name: str, states: list[str], template: str | None, after: str = '"0s"'
) -> dict[str, Any]:
    step = {"delete": True} if template is None else {"statusTemplate": template}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"pod-{name}"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": [{"key": _STATE, "operator": "In", "values": states}]},
            "delay": {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": after}},
            "next": step,
        },
    }


def _states(behaviours: tuple[Behaviour, ...] | list[Behaviour], step: str) -> list[str]:
    return [f"{behaviour} {step}" for behaviour in behaviours]


# jq: a pod's behaviour, the container that it befalls, and how far it has come.
_SAID = f'(.metadata.annotations["{BEHAVIOUR}"] // .metadata.labels["{BEHAVIOUR}"])'
_BEHAVIOUR = f'({_SAID} // "{Behaviour.READY}")'
_FIRST_TO_RUN = "((.spec.initContainers // [])[0] // .spec.containers[0]).name"
_BY_BEHAVIOUR = (
    f'(if [{_BEHAVIOUR}] | inside(["{Behaviour.CRASH_LOOP}", "{Behaviour.OOM}",'
    f' "{Behaviour.NEVER_READY}"]) then .spec.containers[0].name else {_FIRST_TO_RUN} end)'
)
_WHO = f'(.metadata.annotations["{CONTAINER}"] // {_BY_BEHAVIOUR})'
_STATUS_OF_WHO = (
    f"({_WHO} as $who | [.status.initContainerStatuses[]?, .status.containerStatuses[]?]"
    " | map(select(.name == $who)) | .[0])"
)
_IS_READY = '([.status.conditions[]? | select(.type == "Ready") | .status] == ["True"])'
_STEP = (
    f"({_STATUS_OF_WHO} as $status | {_IS_READY} as $ready | {_BEHAVIOUR} as $behaviour"
    ' | ($status.state.waiting.reason // "") as $waits'
    f' | if ([$behaviour] | inside(["{Behaviour.READY}", "{Behaviour.SLOW}"]))'
    ' then (if $ready then "done" else "begun" end)'
    f' elif $behaviour == "{Behaviour.NEVER_READY}"'
    ' then (if $status.state.running and ($ready | not) then "done" else "begun" end)'
    f' elif $behaviour == "{Behaviour.IMAGE_PULL}"'
    ' then (if $waits == "ImagePullBackOff" then "done"'
    ' elif $waits == "ErrImagePull" then "pulled" else "begun" end)'
    ' elif ($status.state.terminated.exitCode // 0) != 0 then "ended"'
    ' elif $waits == "CrashLoopBackOff" then "put-off" else "begun" end)'
)
_STATE = (
    'if .metadata.deletionTimestamp then "deleted" elif (.status.podIP | not) then "new"'
    f' else {_BEHAVIOUR} + " " + {_STEP} end'
)
_FAILS_AFTER = f'.metadata.annotations["{DELAY}"] // "200ms"'
_SUCCEEDS_AFTER = (
    f'.metadata.annotations["{DELAY}"]'
    f' // (if {_BEHAVIOUR} == "{Behaviour.SLOW}" then "60s" else "200ms" end)'
)
# A kubelet begins with ten seconds; these keep the shape and spare the tests the wait.
_BACK_OFF = (
    f'(({_STATUS_OF_WHO} | .restartCount) as $count | "\\([1, 2, 4, 8, 16][$count] // 30)s")'
)

# Go templates. Every one begins with what the annotations say.
_READ = f"""
{{{{ $now := Now }}}}
{{{{ $root := . }}}}
{{{{ $notes := or .metadata.annotations dict }}}}
{{{{ $labels := or .metadata.labels dict }}}}
{{{{ $behaviour := or (index $notes "{BEHAVIOUR}") (index $labels "{BEHAVIOUR}") "ready" }}}}
{{{{ $message := or (index $notes "{TERMINATION_MESSAGE}") "" }}}}
{{{{ $exitCode := or (index $notes "{EXIT_CODE}") "1" }}}}
{{{{ $server := (index .spec.containers 0).name }}}}
{{{{ $first := $server }}}}
{{{{ if .spec.initContainers }}}}{{{{ $first = (index .spec.initContainers 0).name }}}}{{{{ end }}}}
{{{{ $who := $first }}}}
{{{{ if has $behaviour (list "crash-loop" "oom" "never-ready") }}}}
{{{{ $who = $server }}}}
{{{{ end }}}}
{{{{ $who = or (index $notes "{CONTAINER}") $who }}}}
{{{{ $whoIsInit := false }}}}
{{{{ range .spec.initContainers }}}}
{{{{ if eq .name $who }}}}{{{{ $whoIsInit = true }}}}{{{{ end }}}}
{{{{ end }}}}
"""

_COMPLETED = """
    ready: true
    started: false
    state:
      terminated:
        exitCode: 0
        reason: Completed
        message: {{ if $whoIsInit }}{{ if eq $each.name $who }}{{ $message | Quote }}{{ else }}""{{ end }}{{ else }}""{{ end }}
        startedAt: {{ $now | Quote }}
        finishedAt: {{ $now | Quote }}
"""  # noqa: E501 - a template's line
_INITIALIZING = """
    ready: false
    started: false
    state: {waiting: {reason: PodInitializing}}
"""
_RUNNING = """
    ready: true
    started: true
    state: {running: {startedAt: {{ $now | Quote }}}}
"""
_STARTING = """
    ready: false
    started: false
    state: {running: {startedAt: {{ $now | Quote }}}}
"""
_ENDED = """
    ready: false
    started: false
    state:
      terminated:
        exitCode: {{ if eq $behaviour "oom" }}137{{ else }}{{ $exitCode }}{{ end }}
        reason: {{ if eq $behaviour "oom" }}OOMKilled{{ else }}Error{{ end }}
        message: {{ if eq $behaviour "oom" }}""{{ else }}{{ $message | Quote }}{{ end }}
        startedAt: {{ $now | Quote }}
        finishedAt: {{ $now | Quote }}
"""
_PUT_OFF_STATE = """
    ready: false
    started: false
    state:
      waiting:
        reason: CrashLoopBackOff
        message: {{ printf "back-off restarting failed container %s" $each.name | Quote }}
    lastState: {{ $old.state | toJson }}
"""
_AGAIN = """
    ready: false
    started: false
    state: {running: {startedAt: {{ $now | Quote }}}}
    lastState: {{ $old.lastState | toJson }}
"""
_PULL_FAILED_STATE = """
    ready: false
    started: false
    state:
      waiting:
        reason: ErrImagePull
        message: {{ printf "failed to pull and unpack image %s: not found" $each.image | Quote }}
"""
_PULL_OFF_STATE = """
    ready: false
    started: false
    state:
      waiting:
        reason: ImagePullBackOff
        message: {{ printf "Back-off pulling image %s: ErrImagePull: not found" $each.image | Quote }}
"""  # noqa: E501 - a template's line


def _each(status_list: str, state: str, *, restarts: int = 0) -> str:
    """Return a list's item for `$each`, which keeps the restarts that were counted."""
    more = f" | add {restarts}" if restarts else ""
    return f"""
  {{{{ $old := dict }}}}
  {{{{ range $root.status.{status_list} }}}}
  {{{{ if eq .name $each.name }}}}{{{{ $old = . }}}}{{{{ end }}}}
  {{{{ end }}}}
  - name: {{{{ $each.name | Quote }}}}
    image: {{{{ $each.image | Quote }}}}
    imageID: ""
    restartCount: {{{{ $count := or $old.restartCount 0 }}}}{{{{
      if eq $each.name $who }}}}{{{{ $count{more} }}}}{{{{ else }}}}{{{{ $count }}}}{{{{ end }}}}
{state}"""


def _containers(who: str, *, others: str = _RUNNING, restarts: int = 0) -> str:
    """Return both lists of statuses when `who` is the state of the container that it befalls."""
    init = f"""{{{{ if eq $each.name $who }}}}{{{{ $reached = true }}}}{who}
    {{{{ else if $reached }}}}{_INITIALIZING}{{{{ else }}}}{_COMPLETED}{{{{ end }}}}"""
    main = f"""{{{{ if eq $each.name $who }}}}{who}
    {{{{ else if $whoIsInit }}}}{_INITIALIZING}{{{{ else }}}}{others}{{{{ end }}}}"""
    return f"""
{{{{ $reached := false }}}}
initContainerStatuses:
{{{{ range $each := .spec.initContainers }}}}
{_each("initContainerStatuses", init, restarts=restarts)}
{{{{ end }}}}
containerStatuses:
{{{{ range $each := .spec.containers }}}}
{_each("containerStatuses", main, restarts=restarts)}
{{{{ end }}}}
"""


_NOT_READY = """
conditions:
- type: Initialized
  status: {{ if $whoIsInit }}"False"{{ else }}"True"{{ end }}
  lastTransitionTime: {{ $now | Quote }}
- type: ContainersReady
  status: "False"
  reason: ContainersNotReady
  message: {{ printf "containers with unready status: [%s]" $server | Quote }}
  lastTransitionTime: {{ $now | Quote }}
- type: Ready
  status: "False"
  reason: ContainersNotReady
  message: {{ printf "containers with unready status: [%s]" $server | Quote }}
  lastTransitionTime: {{ $now | Quote }}
phase: {{ if or $whoIsInit (eq $behaviour "image-pull") }}Pending{{ else }}Running{{ end }}
"""
_PLACED = (
    _READ
    + "{{ $who = $first }}{{ $whoIsInit = ne $first $server }}"
    + _NOT_READY
    + """
startTime: {{ $now | Quote }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
{{ $address := PodIPWith .spec.nodeName (or .spec.hostNetwork false) .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ $address | Quote }}
podIPs: [{ip: {{ $address | Quote }}}]
"""  # noqa: E501 - a template's line
    + _containers(_STARTING, others=_STARTING)
)
_FAILED = _READ + _NOT_READY + _containers(_ENDED)
_PUT_OFF = _READ + _NOT_READY + _containers(_PUT_OFF_STATE)
_RUNS_AGAIN = _READ + _NOT_READY + _containers(_AGAIN, restarts=1)
_PULL_FAILED = _READ + _NOT_READY + _containers(_PULL_FAILED_STATE)
_PULL_OFF = _READ + _NOT_READY + _containers(_PULL_OFF_STATE)
_UNREADY = _READ + _NOT_READY + _containers(_STARTING)
_SUCCEEDED = (
    _READ
    + """
conditions:
{{ range $type := list "Initialized" "ContainersReady" "Ready" }}
- type: {{ $type }}
  status: "True"
  reason: ""
  message: ""
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
phase: Running
initContainerStatuses:
{{ range $each := .spec.initContainers }}
"""
    + _each("initContainerStatuses", _COMPLETED)
    + """
{{ end }}
containerStatuses:
{{ range $each := .spec.containers }}
"""
    + _each("containerStatuses", _RUNNING)
    + """
{{ end }}
"""
)

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
