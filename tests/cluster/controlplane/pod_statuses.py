"""What is written into a pod's status at each stage: Go templates for kwok.

Each begins with what the annotations say. `@name` stands for a part that Python fills in.
"""

from controlplane.nodes import BEHAVIOUR, CONTAINER, EXIT_CODE, TERMINATION_MESSAGE


def _filled(template: str, **parts: str) -> str:
    for name, part in parts.items():
        template = template.replace(f"@{name}", part)
    return template


_READ = _filled(
    """
{{ $now := Now }}
{{ $root := . }}
{{ $notes := or .metadata.annotations dict }}
{{ $labels := or .metadata.labels dict }}
{{ $behaviour := or (index $notes "@behaviour") (index $labels "@behaviour") "ready" }}
{{ $message := or (index $notes "@message") "" }}
{{ $exitCode := or (index $notes "@exit_code") "1" }}
{{ $server := (index .spec.containers 0).name }}
{{ $first := $server }}
{{ if .spec.initContainers }}{{ $first = (index .spec.initContainers 0).name }}{{ end }}
{{ $who := $first }}
{{ if has $behaviour (list "crash-loop" "oom" "never-ready") }}
{{ $who = $server }}
{{ end }}
{{ $who = or (index $notes "@container") $who }}
{{ $whoIsInit := false }}
{{ range .spec.initContainers }}
{{ if eq .name $who }}{{ $whoIsInit = true }}{{ end }}
{{ end }}
""",
    behaviour=BEHAVIOUR,
    message=TERMINATION_MESSAGE,
    exit_code=EXIT_CODE,
    container=CONTAINER,
)

_COMPLETED = """
    ready: true
    started: false
    state:
      terminated:
        exitCode: 0
        reason: Completed
        message: {{ if and $whoIsInit (eq $each.name $who) }}{{ $message | Quote }}{{ else }}""{{ end }}
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


_EACH = """
  {{ $old := dict }}
  {{ range $root.status.@list }}{{ if eq .name $each.name }}{{ $old = . }}{{ end }}{{ end }}
  {{ $restarts := or $old.restartCount 0 }}
  {{ if eq $each.name $who }}{{ $restarts = add $restarts @restarted }}{{ end }}
  - name: {{ $each.name | Quote }}
    image: {{ $each.image | Quote }}
    imageID: ""
    restartCount: {{ $restarts }}
@state"""
_BOTH_LISTS = """
{{ $reached := false }}
initContainerStatuses:
{{ range $each := .spec.initContainers }}
@init
{{ end }}
containerStatuses:
{{ range $each := .spec.containers }}
@main
{{ end }}
"""
_INIT = """
{{ if eq $each.name $who }}{{ $reached = true }}
@who
{{ else if $reached }}
@later
{{ else }}
@earlier
{{ end }}
"""
_MAIN = """
{{ if eq $each.name $who }}
@who
{{ else if $whoIsInit }}
@later
{{ else }}
@others
{{ end }}
"""


def _each(status_list: str, state: str, restarted: int = 0) -> str:
    """Return a list's item for `$each`, which keeps the restarts that were counted."""
    return _filled(_EACH, list=status_list, restarted=str(restarted), state=state)


def _containers(who: str, *, others: str = _RUNNING, restarted: int = 0) -> str:
    """Return both lists of statuses when `who` is the state of the container that it befalls."""
    init = _filled(_INIT, who=who, later=_INITIALIZING, earlier=_COMPLETED)
    main = _filled(_MAIN, who=who, later=_INITIALIZING, others=others)
    return _filled(
        _BOTH_LISTS,
        init=_each("initContainerStatuses", init, restarted),
        main=_each("containerStatuses", main, restarted),
    )


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
PLACED = (
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
FAILED = _READ + _NOT_READY + _containers(_ENDED)
PUT_OFF = _READ + _NOT_READY + _containers(_PUT_OFF_STATE)
RUNS_AGAIN = _READ + _NOT_READY + _containers(_AGAIN, restarted=1)
PULL_FAILED = _READ + _NOT_READY + _containers(_PULL_FAILED_STATE)
PULL_PUT_OFF = _READ + _NOT_READY + _containers(_PULL_OFF_STATE)
UNREADY = _READ + _NOT_READY + _containers(_STARTING)
EVICTED = (
    _READ
    + """
phase: Failed
reason: Evicted
message: {{ $message | Quote }}
conditions:
- type: Ready
  status: "False"
  reason: PodFailed
  lastTransitionTime: {{ $now | Quote }}
- type: DisruptionTarget
  status: "True"
  reason: TerminationByKubelet
  message: {{ $message | Quote }}
  lastTransitionTime: {{ $now | Quote }}
"""
)
SUCCEEDED = (
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
