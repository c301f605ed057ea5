"""Every way in which the router itself refuses a call. What a pod says is passed on as it is.

WireError
├── InvalidArgument
│   ├── TaskNotRouted        no service here has such a task
│   └── TaskOfAnotherFamily  the task's name and meta["service"] contradict each other
├── NotFound
│   └── ServiceNotRouted     meta["service"] names nothing here
├── FailedPrecondition
│   └── SpaceNotServed       the embedding space demanded is not the service's
├── ResourceExhausted
│   └── RouterFull           no room to hold one more payload
├── Unavailable
│   ├── NoServiceOfFamily    nothing of that family is served at all
│   ├── NoReadyPod           the service has no pod that can answer, and waiting is over
│   └── NothingReady         no service is ready: there is nothing to advertise
├── DeadlineExceeded
│   └── DeadlineNear         the deadline passed before a pod answered
└── Internal
    └── PodAnswerBroken      a pod's answer breaks the protocol

RoutesUnreadable             the routes file says nothing usable; the last good one stays
ObjectUnreadable             an object of the cluster says nothing usable; it is left out
"""

from lumen_wire import errors as wire


class TaskNotRouted(wire.InvalidArgument):
    """No service here advertises the task."""


class TaskOfAnotherFamily(wire.InvalidArgument):
    """The task's own name says one family, the service that the caller names is of another."""


class ServiceNotRouted(wire.NotFound):
    """No alias, service or family of that name is served here."""


class SpaceNotServed(wire.FailedPrecondition):
    """The service's embedding space is not the one the caller demands."""


class RouterFull(wire.ResourceExhausted):
    """Holding one more payload would exceed a bound."""


class NoServiceOfFamily(wire.Unavailable):
    """No service of the family is routed, so the call has nowhere to go."""


class NoReadyPod(wire.Unavailable):
    """The service has no pod that can answer, and the call may wait no longer."""


class NothingReady(wire.Unavailable):
    """No service is ready yet."""


class DeadlineNear(wire.DeadlineExceeded):
    """The deadline passed before a pod answered."""


class PodAnswerBroken(wire.Internal):
    """A pod's answer breaks the protocol: no final part, or an unreadable result."""


class RoutesUnreadable(Exception):
    """The routes cannot be read; the message says why."""


class ObjectUnreadable(Exception):
    """An object that the API server delivered cannot be read; the message names it and says why."""
