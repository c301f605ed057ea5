"""All pods of all services: made and retired as the routes say, found for calls by `forward`.

It keeps embedding spaces apart: a call for vectors only reaches pods of the service's space.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import structlog

from lumen_router.routes.table import Route, Routes, Service
from lumen_router.upstream import policy
from lumen_router.upstream.pod import Pod, PodCapabilities
from lumen_router.upstream.policy import RetryBudget
from lumen_wire.tasks import TaskKind

RETIRE_GRACE_S: Final = 60.0
LINGER_S: Final = 30.0
EMBEDDINGS: Final = frozenset({TaskKind.TEXT_EMBED, TaskKind.IMAGE_EMBED})

log = structlog.get_logger(__name__)

Groups = tuple[tuple[int, tuple[Pod, ...]], ...]
"""The weight of each variant, and those of its pods that may get a call."""


@dataclass(frozen=True, slots=True)
class CallRequirements:
    """What a call asks of a pod. `space` is empty unless the caller demands one."""

    kind: TaskKind
    space: str = ""


class BackendPool:
    """The pods of one service."""

    def __init__(self, service: Service, changed: Callable[[], None]) -> None:
        self.service = service
        self.budget = RetryBudget()
        self.last_ready = float("-inf")
        self._pods: dict[tuple[str, str], Pod] = {}
        self._changed = changed
        self._news = asyncio.Event()
        self._candidates: dict[CallRequirements, Groups] = {}
        self._settled_space = ""
        self._remembered: PodCapabilities | None = None
        self._was_ready = False

    @property
    def pods(self) -> Iterable[Pod]:
        """Every pod that the routes name, ready or not."""
        return tuple(self._pods.values())

    @property
    def ready_pods(self) -> list[Pod]:
        """The pods that may get calls."""
        return [pod for pod in self._pods.values() if pod.ready]

    @property
    def space(self) -> str:
        """The space of this service's vectors: as declared, else that of its first ready pod."""
        return self.service.embedding_space or self._settled_space

    def known_kinds(self) -> frozenset[TaskKind] | None:
        """Return the kinds of work that ready pods offer, None while no pod is ready."""
        learnt = [pod.learnt for pod in self._pods.values() if pod.learnt is not None]
        return frozenset(kind for one in learnt for kind in one.kinds) if learnt else None

    def last_learnt(self, linger_s: float = LINGER_S) -> PodCapabilities | None:
        """Return what a ready pod says, or said a moment ago; None when there is none."""
        recent = time.monotonic() - linger_s
        return self._remembered if self.ready_pods or self.last_ready > recent else None

    def choose(self, wanted: CallRequirements, avoided: frozenset[tuple[str, int]]) -> Pod | None:
        """Return the pod for a call, None when no ready pod may get it.

        `avoided` holds address and epoch of pods that already failed it. Variants share calls by
        weight, pods of one variant by what is outstanding; pods that ask for patience come last.
        """
        groups = self._candidates.get(wanted)
        if groups is None:
            groups = self._find_candidates(wanted)
            # Not what no pod offers: callers may ask for any space, and nothing bounds their words.
            if groups:
                self._candidates[wanted] = groups
        if avoided:
            groups = _only(groups, lambda pod: (pod.address, pod.epoch) not in avoided)
        groups = _patient(groups)
        if not groups:
            return None
        if len(groups) == 1:
            chosen = groups[0]
        else:
            roll = random.random()  # noqa: S311 - balance, not a key
            chosen = groups[policy.choose_weighted([weight for weight, _ in groups], roll) or 0]
        return policy.choose_least_outstanding(chosen[1], random.randrange)

    async def news(self) -> None:
        """Return when a pod of this service has become ready or stopped being so."""
        await self._news.wait()

    def on_change(self) -> None:
        """Forget what was derived from the pods' state and wake whoever waits for a change."""
        self._candidates.clear()
        ready = [pod.learnt for pod in self._pods.values() if pod.learnt is not None]
        if self._was_ready:
            self.last_ready = time.monotonic()
        self._was_ready = bool(ready)
        if ready:
            self._remembered = self._spokesman()
            spaces = {learnt.space for learnt in ready}
            if self._settled_space not in spaces:
                self._settled_space = min(spaces)
        self._news.set()
        self._news = asyncio.Event()
        self._changed()

    def update(
        self, service: Service, start: Callable[[Pod], None], retire: Callable[[Pod], None]
    ) -> None:
        """Take over what the routes now say of this service."""
        self.service = service
        wanted = _wanted(service)
        for key in [key for key in self._pods if key not in wanted]:
            retire(self._pods.pop(key))
        for key in sorted(wanted - self._pods.keys()):
            pod = self._pods[key] = Pod(key[1], service.family, self.on_change)
            start(pod)
        self.on_change()

    def _spokesman(self) -> PodCapabilities | None:
        """Return what the first ready pod of the heaviest variant says."""
        weights = {route.variant: route.weight for route in self.service.routes}
        ready = [(variant, pod.learnt) for (variant, _), pod in self._pods.items() if pod.learnt]
        return max(ready, key=lambda one: weights.get(one[0], 0))[1] if ready else None

    def _find_candidates(self, wanted: CallRequirements) -> Groups:
        groups = []
        for route in self.service.routes:
            pods = tuple(
                pod
                for (variant, _), pod in self._pods.items()
                if variant == route.variant and self._may_answer(pod, route, wanted)
            )
            if pods and route.weight > 0:
                groups.append((route.weight, pods))
        return tuple(groups)

    def _may_answer(self, pod: Pod, route: Route, wanted: CallRequirements) -> bool:
        learnt = pod.learnt
        if learnt is None or wanted.kind not in learnt.kinds:
            return False
        if wanted.space and learnt.space != wanted.space:
            return False
        if wanted.kind not in EMBEDDINGS:
            return True
        declared = route.embedding_space or self.space
        if learnt.space == declared == self.space:
            return True
        pod.say_misfit()
        return False


class UpstreamRegistry:
    """The pods of every service. Enter it before `apply`; leaving it closes every connection."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.routes: Routes | None = None
        self._changed = changed
        self._services: dict[str, BackendPool] = {}
        self._watches: dict[Pod, asyncio.Task[None]] = {}
        self._tasks = asyncio.TaskGroup()
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pods = list(self._watches)
        for watch in (*self._watches.values(), *self._closing):
            watch.cancel()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            for pod in pods:
                await pod.close(0.0)

    @property
    def services(self) -> Iterable[BackendPool]:
        """Every service, oldest first."""
        return tuple(self._services.values())

    def apply(self, routes: Routes) -> None:
        """Follow new routes: start pods that are new, retire those that are gone or leaving."""
        _tell_of_names_that_moved(self.routes, routes)
        self.routes = routes
        before = self._services
        self._services = {}
        for service in routes.services:
            pods = before.pop(service.name, None)
            if pods is not None and pods.service.family is not service.family:
                pods.update(_emptied(pods.service), self._start, self._retire)
                pods = None
            self._services[service.name] = pods or BackendPool(service, self._changed)
        for gone in before.values():
            gone.update(_emptied(gone.service), self._start, self._retire)
        for service in routes.services:
            self._services[service.name].update(service, self._start, self._retire)

    def of(self, service: Service) -> BackendPool | None:
        """Return the service's pods, None when the routes no longer name it."""
        return self._services.get(service.name)

    def any_ready(self, linger_s: float = LINGER_S) -> bool:
        """Tell whether a service is ready, or was a moment ago.

        Calls are held over a restart of the only pod, so the router must not look dead meanwhile.
        """
        recent = time.monotonic() - linger_s
        return any(pods.ready_pods or pods.last_ready > recent for pods in self.services)

    def settled(self) -> bool:
        """Tell whether routes are known, and every pod that they name was asked once."""
        known = self.routes is not None
        return known and all(pod.asked for pods in self.services for pod in pods.pods)

    def _start(self, pod: Pod) -> None:
        self._watches[pod] = self._tasks.create_task(pod.watch())

    def _retire(self, pod: Pod) -> None:
        self._watches.pop(pod).cancel()
        task = self._tasks.create_task(pod.close(RETIRE_GRACE_S))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _wanted(service: Service) -> set[tuple[str, str]]:
    """Return variant and address of each pod that may get calls.

    A pod that leaves serves on for its drain: where there is no other pod it gets the calls, which
    would wait for its successor otherwise.
    """
    listed = [(route.variant, one) for route in service.routes for one in route.endpoints]
    taking = {(variant, one.address) for variant, one in listed if one.takes_calls}
    return taking or {(variant, one.address) for variant, one in listed if one.is_last_resort}


def _tell_of_names_that_moved(before: Routes | None, now: Routes) -> None:
    """Log which names mean another service from now on: its vectors may be of another space."""
    for name, service in (before.names if before is not None else {}).items():
        after = now.names.get(name)
        if after is not None and after.name != service.name:
            log.warning(
                "a name means another service now",
                name=name,
                before=service.name,
                after=after.name,
                same_space=after.embedding_space == service.embedding_space,
            )


def _emptied(service: Service) -> Service:
    return Service(service.name, service.family)


def _only(groups: Groups, keep: Callable[[Pod], bool]) -> Groups:
    left = ((weight, tuple(pod for pod in pods if keep(pod))) for weight, pods in groups)
    return tuple((weight, pods) for weight, pods in left if pods)


def _patient(groups: Groups) -> Groups:
    """Leave out pods that asked for patience, unless all of them did."""
    now = time.monotonic()
    if all(pod.pushback_until <= now for _, pods in groups for pod in pods):
        return groups
    return _only(groups, lambda pod: pod.pushback_until <= now) or groups
