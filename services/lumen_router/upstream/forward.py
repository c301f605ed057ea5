"""One assembled request to one pod and its answer back: holding, retries, deadline, cancel.

The core and the cascade call `Forwarder.forward`. A call that fails because of its pod goes to
another one, within the service's retry budget; while no pod is ready it waits, bounded.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from lumen_manifest.conditions import Reason
from lumen_router.errors import DeadlineNear, NoReadyPod, SpaceNotServed, TaskNotRouted
from lumen_router.metrics import RouterMetrics
from lumen_router.upstream.call import Call, InferenceAnswer, messages_of, read_answer
from lumen_router.upstream.lanes import InferCall
from lumen_router.upstream.pending_calls import (
    RETRY_AFTER_MS,
    TERMINAL_REASONS,
    PendingCalls,
    hold_at_most_s,
)
from lumen_router.upstream.pod import Pod
from lumen_router.upstream.registry import (
    EMBEDDINGS,
    BackendPool,
    CallRequirements,
    UpstreamRegistry,
)
from lumen_wire.deadline import Deadline
from lumen_wire.errors import ResourceExhausted, Unavailable, WireError
from lumen_wire.request.callers import metadata_of

ATTEMPTS = 3
PATIENCE_S = 0.05
NEVER_RETRIED: frozenset[tuple[str, int]] = frozenset()


class Forwarder:
    """Sends calls to pods."""

    def __init__(
        self, directory: UpstreamRegistry, room: PendingCalls, metrics: RouterMetrics
    ) -> None:
        self._directory = directory
        self._room = room
        self._metrics = metrics
        self._ending: set[InferCall] = set()

    async def forward(self, call: Call, deadline: Deadline) -> InferenceAnswer:
        """Return the answer of one of the service's pods.

        Raises what the last pod answered, or NoReadyPod, RouterFull, SpaceNotServed, TaskNotRouted,
        DeadlineNear. Cancelling it cancels the pod's work.
        """
        pods = self._pods_of(call)
        messages: list[bytes] = []
        wanted = CallRequirements(call.target.kind, call.space)
        pods.budget.earn()
        failed: WireError | None = None
        avoided = NEVER_RETRIED
        for attempt in range(1, ATTEMPTS + 1):
            pod = pods.choose(wanted, avoided)
            if pod is None:
                if failed is not None and pods.choose(wanted, NEVER_RETRIED) is not None:
                    break
                if isinstance(failed, ResourceExhausted):
                    break
                pod = await self._wait_for_pod(pods, call, wanted, avoided, deadline)
            epoch = pod.epoch
            # Made when a pod is there, so that a call that waits is held once.
            if not messages:
                messages, call.payload = messages_of(call), b""
            try:
                return await self._attempt(pod, call, messages, deadline)
            except (Unavailable, ResourceExhausted) as error:
                failed = error
                _blame(pod, epoch, error)
            if attempt == ATTEMPTS or not pods.budget.spend():
                break
            avoided |= {(pod.address, epoch)}
            self._metrics.retried(call.target.service.name, failed.status)
        assert failed is not None, "the loop ends early only after a failure"
        raise failed

    def _pods_of(self, call: Call) -> BackendPool:
        service = call.target.service
        pods = self._directory.of(service)
        if pods is None:
            raise NoReadyPod(f"service {service.name} was removed")
        if call.space and pods.space and call.space != pods.space:
            raise SpaceNotServed(
                f"service {service.name} computes in embedding space {pods.space}, "
                f"not in {call.space[:80]}"
            )
        return pods

    async def _attempt(
        self, pod: Pod, call: Call, messages: Sequence[bytes], deadline: Deadline
    ) -> InferenceAnswer:
        remaining_s = deadline.remaining_s()
        if remaining_s <= 0:
            raise DeadlineNear("the deadline passed before a pod could be asked")
        space = pod.learnt.space if pod.learnt else ""
        answered = False
        with pod.calling():
            sent = pod.infer(messages, remaining_s, metadata_of(call.caller))
            try:
                answer = await read_answer(sent)
                answered = True
            finally:
                if not answered:
                    sent.cancel()
        self._let_end(sent)
        if call.target.kind in EMBEDDINGS and answer.meta.get("embedding_space", space) != space:
            raise Unavailable(f"pod {pod.address} changed its embedding space: try again")
        pod.record_success()
        return answer

    def _let_end(self, sent: InferCall) -> None:
        """Keep an answered call until its status has come: dropped earlier, it would be reset."""
        if not sent.done():
            self._ending.add(sent)
            sent.add_done_callback(self._ending.discard)

    async def _wait_for_pod(
        self,
        pods: BackendPool,
        call: Call,
        wanted: CallRequirements,
        avoided: frozenset[tuple[str, int]],
        deadline: Deadline,
    ) -> Pod:
        """Return the first pod that becomes ready; raises NoReadyPod when waiting is over."""
        name = call.target.service.name
        _refuse_the_hopeless(pods, wanted)
        patience_s = hold_at_most_s(deadline.remaining_s(), call.hold_s)
        started = time.monotonic()
        pod: Pod | None = None
        with self._room.enter(name, call.caller), suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while pod is None:
                    await pods.news()
                    if self._directory.of(call.target.service) is not pods:
                        break
                    _refuse_the_hopeless(pods, wanted)
                    pod = pods.choose(wanted, avoided)
        self._metrics.held(name, time.monotonic() - started, served=pod is not None)
        if pod is None:
            raise NoReadyPod(_why_not_ready(pods), retry_after_ms=RETRY_AFTER_MS)
        return pod


def _blame(pod: Pod, epoch: int, error: WireError) -> None:
    """Eject a pod that is gone; leave one that is full alone for as long as it asked."""
    if isinstance(error, ResourceExhausted):
        patience_s = PATIENCE_S if error.retry_after_ms is None else error.retry_after_ms / 1000
        pod.pushback_until = time.monotonic() + patience_s
    elif pod.epoch == epoch:
        pod.eject(error.message)


def _refuse_the_hopeless(pods: BackendPool, wanted: CallRequirements) -> None:
    """Raise at once when waiting would change nothing."""
    service = pods.service
    kinds = pods.known_kinds()
    if kinds is not None and wanted.kind not in kinds:
        raise TaskNotRouted(f"Unknown task: service {service.name} offers no {wanted.kind}")
    if kinds is None and service.reason in TERMINAL_REASONS:
        raise NoReadyPod(_why_not_ready(pods))


def _why_not_ready(pods: BackendPool) -> str:
    service = pods.service
    because = service.message
    if not because and service.reason in Reason.__members__.values():
        because = Reason(service.reason).meaning
    if not because and pods.ready_pods:
        because = "its ready pods are of another embedding space"
    why = ": ".join(part for part in (service.reason, because) if part)
    return f"service {service.name} has no pod that can answer" + (f" ({why})" if why else "")
