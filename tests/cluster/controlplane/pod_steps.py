"""How far a pod has come, in jq: what kwok asks to find the stage that comes next.

`STATE` is `new`, `deleted`, or a behaviour and a step of it, such as `crash-loop put-off`; the
other expressions say how long the next stage waits.
"""

from controlplane import nodes
from controlplane.nodes import BEHAVIOUR, CONTAINER, DELAY, Behaviour

_SAID = f'(.metadata.annotations["{BEHAVIOUR}"] // .metadata.labels["{BEHAVIOUR}"])'
_BEHAVIOUR = f'({_SAID} // "{Behaviour.READY}")'
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
    elif ($status.state.terminated.exitCode // 0) != 0 then "ended"
    elif $waits == "CrashLoopBackOff" then "put-off"
    else "begun" end
)"""
STATE = f"""
if .metadata.deletionTimestamp then "deleted"
elif (.status.podIP | not) then "new"
else {_BEHAVIOUR} + " " + {_STEP} end
"""

AT_ONCE = '"0s"'
A_MOMENT = '"200ms"'
FAILURE_DELAY = f'.metadata.annotations["{DELAY}"] // "200ms"'
EVICTION_DELAY = f'.metadata.annotations["{DELAY}"] // "1s"'
SUCCESS_DELAY = (
    f'.metadata.annotations["{DELAY}"]'
    f' // (if {_BEHAVIOUR} == "{Behaviour.SLOW}" then "60s" else "200ms" end)'
)
STOP_DELAY = f'.metadata.annotations["{nodes.STOP_DELAY}"] // "0s"'
# A kubelet begins with ten seconds; these keep the shape and spare the tests the wait.
BACK_OFF = f'({_STATUS_OF_WHO} | .restartCount) as $count | "\\([1, 2, 4, 8, 16][$count] // 30)s"'
