"""What is written into a pod's status at each stage: Go templates for kwok.

Each begins with what the annotations say. `@name` stands for a part that Python fills in.
"""

from controlplane.nodes import BEHAVIOUR, CONTAINER, TERMINATION_MESSAGE


def _filled(template: str, **parts: str) -> str:
    for name, part in parts.items():
        template = template.replace(f"@{name}", part)
    return template


_READ = _filled(
    """
{{ $now := Now }}
{{ $root := . }}
{{ $notes := or .metadata.annotations dict }}
{{ $behaviour := or (index $notes "@behaviour") "ready" }}
{{ $message := or (index $notes "@message") "" }}
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
    container=CONTAINER,
)


def _state(state: str, *, ready: bool = False, started: bool = False, last: str = "") -> str:
    """Return what a container's status says; `last` names the field of its old one that is kept."""
    said = f"""
    ready: {str(ready).lower()}
    started: {str(started).lower()}
    state: {{ {state} }}
"""
    return said + (f"    lastState: {{{{ $old.{last} | toJson }}}}\n" if last else "")


def _terminated(code: str, reason: str, message: str) -> str:
    times = "startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}"
    said = f"exitCode: {code}, reason: {reason}, message: {message}, {times}"
    return f"terminated: {{ {said} }}"


def _waiting(reason: str, message: str, of: str) -> str:
    said = f"""{{{{ printf "{message}" {of} | Quote }}}}"""
    return f"waiting: {{ reason: {reason}, message: {said} }}"


_UP = "running: {startedAt: {{ $now | Quote }}}"
_RUNNING = _state(_UP, ready=True, started=True)
_STARTING = _state(_UP)
_AGAIN = _state(_UP, last="lastState")
_INITIALIZING = _state("waiting: {reason: PodInitializing}")
_COMPLETED = _state(
    _terminated(
        "0",
        "Completed",
        '{{ if and $whoIsInit (eq $each.name $who) }}{{ $message | Quote }}{{ else }}""{{ end }}',
    ),
    ready=True,
)
_ENDED = _state(
    '{{ if eq $behaviour "oom" }}'
    + _terminated("137", "OOMKilled", '""')
    + "{{ else }}"
    + _terminated("1", "Error", "{{ $message | Quote }}")
    + "{{ end }}"
)
_PUT_OFF = _state(
    _waiting("CrashLoopBackOff", "back-off restarting failed container %s", "$each.name"),
    last="state",
)
_PULL_FAILED = _state(
    _waiting("ErrImagePull", "failed to pull and unpack image %s: not found", "$each.image")
)
_PULL_OFF = _state(
    _waiting(
        "ImagePullBackOff", "Back-off pulling image %s: ErrImagePull: not found", "$each.image"
    )
)

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


def _both_lists(init: str, main: str, restarted: int = 0) -> str:
    """Return both lists of statuses; each container keeps the restarts that were counted."""

    def each(status_list: str, state: str) -> str:
        return _filled(_EACH, list=status_list, restarted=str(restarted), state=state)

    return _filled(
        _BOTH_LISTS,
        init=each("initContainerStatuses", init),
        main=each("containerStatuses", main),
    )


def _containers(who: str, *, others: str = _RUNNING, restarted: int = 0) -> str:
    """Return both lists when `who` is the state of the container that it befalls."""
    init = _filled(_INIT, who=who, later=_INITIALIZING, earlier=_COMPLETED)
    main = _filled(_MAIN, who=who, later=_INITIALIZING, others=others)
    return _both_lists(init, main, restarted)


_NOT_READY = """
conditions:
- type: Initialized
  status: {{ if $whoIsInit }}"False"{{ else }}"True"{{ end }}
  lastTransitionTime: {{ $now | Quote }}
{{ range $type := list "ContainersReady" "Ready" }}
- type: {{ $type }}
  status: "False"
  reason: ContainersNotReady
  message: {{ printf "containers with unready status: [%s]" $server | Quote }}
  lastTransitionTime: {{ $now | Quote }}
{{ end }}
{{ $pending := or $whoIsInit (has $behaviour (list "image-pull" "config-error" "not-set-up")) }}
phase: {{ if $pending }}Pending{{ else }}Running{{ end }}
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
PUT_OFF = _READ + _NOT_READY + _containers(_PUT_OFF)
RUNS_AGAIN = _READ + _NOT_READY + _containers(_AGAIN, restarted=1)
PULL_FAILED = _READ + _NOT_READY + _containers(_PULL_FAILED)
PULL_PUT_OFF = _READ + _NOT_READY + _containers(_PULL_OFF)
NOT_MADE = (
    _READ
    + _NOT_READY
    + _containers(_state(_waiting("CreateContainerConfigError", "%s", "$message")))
)
NOT_SET_UP = _READ + _NOT_READY + _containers(_state("waiting: {reason: ContainerCreating}"))
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
"""
    + _both_lists(_COMPLETED, _RUNNING)
)
