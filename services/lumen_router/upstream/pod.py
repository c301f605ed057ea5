"""One pod: its channel, what it said of itself, how busy it is, whether it may get calls.

`registry` makes and retires pods as the routes say; `forward` sends calls. A pod is ready after
it has told its capabilities on the connection at hand: after a lost connection it is asked again,
since another model may live at the same address.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
import structlog

from lumen_manifest.spec.enums import Family
from lumen_process.backoff import Backoff
from lumen_router.upstream.lanes import InferCall, Lanes
from lumen_wire import tasks
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.tasks import TaskKind

LEARN_TIMEOUT_S: Final = 5.0
PROBES: Final = Backoff(first_s=0.05, longest_s=5.0)
STREAM_CAPABILITIES: Final = "/home_native.v1.Inference/StreamCapabilities"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PodCapabilities:
    """What a pod says of itself: its record, its kinds of work, the space of its vectors."""

    record: pb.Capability
    kinds: Mapping[TaskKind, pb.IOTask]
    space: str

    @classmethod
    def from_record(cls, record: pb.Capability, family: Family) -> "PodCapabilities":
        """Read a record; names that the family does not know are left out."""
        kinds: dict[TaskKind, pb.IOTask] = {}
        for task in record.tasks:
            kind = tasks.resolve(task.name, family)
            if kind is not None:
                kinds.setdefault(kind, task)
        return cls(record, kinds, record.extra.get("embedding_space", ""))


class Pod:
    """One pod behind its connections. `tell` is called when it becomes ready or stops being so."""

    def __init__(self, address: str, family: Family, tell: Callable[[], None]) -> None:
        self.address = address
        self.outstanding = 0
        self.pushback_until = 0.0
        self.epoch = 0
        self.learnt: PodCapabilities | None = None
        self.asked = False
        self._misfit_epoch = 0
        self._family = family
        self._tell = tell
        self._ejections = 0
        self._ejected = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._lanes = Lanes(address)
        self._channel = self._lanes.first.channel
        self._capabilities: grpc.aio.UnaryStreamMultiCallable[bytes, pb.Capability] = (
            self._channel.unary_stream(
                STREAM_CAPABILITIES,
                request_serializer=bytes,
                response_deserializer=pb.Capability.FromString,
            )
        )

    @property
    def ready(self) -> bool:
        """Whether it may get calls now."""
        return self.learnt is not None

    def infer(
        self,
        messages: Sequence[bytes],
        timeout_s: float,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> InferCall:
        """Send one request, in as many messages as it takes; the call is the caller's to read."""
        return self._lanes.choose().infer(messages, timeout_s, metadata)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Count a call from when it is sent until it is over, however it ends."""
        self.outstanding += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.outstanding -= 1
            if self.outstanding == 0:
                self._idle.set()

    def record_success(self) -> None:
        """Take note that it answered a call: its record of failures is forgotten."""
        self._ejections = 0

    def say_misfit(self) -> None:
        """Say that its vectors are of another space, once for each time it got ready."""
        if self._misfit_epoch != self.epoch:
            self._misfit_epoch = self.epoch
            log.warning("pod of another embedding space gets no embeddings", pod=self.address)

    def eject(self, why: str) -> None:
        """Take it out until a probe succeeds; the wait before it doubles with each ejection."""
        if self.learnt is None:
            return
        log.warning("pod ejected", pod=self.address, why=why[:200])
        self._lose()
        self._ejections += 1
        self._ejected.set()

    async def watch(self) -> None:
        """Keep the connection and what is known of the pod; runs until it is cancelled."""
        failures = 0
        try:
            while True:
                failed = failures + self._ejections
                await asyncio.sleep(PROBES.delay_s(failed) if failed else 0.0)
                try:
                    learnt = await self._ask()
                except grpc.aio.AioRpcError as error:
                    log.debug("pod does not answer", pod=self.address, code=error.code().name)
                    learnt = None
                self.asked = True
                if learnt is None:
                    if failures == 0:
                        # It will not be ready soon: whoever waits for all need not wait for it.
                        self._tell()
                    failures += 1
                    continue
                failures = 0
                self._ejected.clear()
                self.learnt = learnt
                self.epoch += 1
                log.info("pod ready", pod=self.address, space=learnt.space[:12])
                self._tell()
                await self._until_lost()
        finally:
            self._lose()

    async def close(self, grace_s: float) -> None:
        """Let calls in flight end within the grace, then close the connection."""
        self._lose()
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("pod closed with calls in flight", pod=self.address, n=self.outstanding)
        finally:
            await self._lanes.close()

    async def _ask(self) -> PodCapabilities | None:
        """Return what the pod says, None when it says nothing; raises AioRpcError."""
        call = self._capabilities(b"", timeout=LEARN_TIMEOUT_S, wait_for_ready=True)
        try:
            record = await call.read()
        finally:
            call.cancel()
        if not isinstance(record, pb.Capability):
            return None
        return PodCapabilities.from_record(record, self._family)

    async def _until_lost(self) -> None:
        """Return when the connection is gone or the pod was ejected."""
        lost = asyncio.ensure_future(self._connection_lost())
        ejected = asyncio.ensure_future(self._ejected.wait())
        try:
            await asyncio.wait((lost, ejected), return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            ejected.cancel()
        if self.learnt is not None:
            log.info("pod connection lost", pod=self.address)
            self._lose()

    async def _connection_lost(self) -> None:
        ready = grpc.ChannelConnectivity.READY
        # The call just made proves a connection; the channel's own state may lag a moment behind.
        while (state := self._channel.get_state()) is grpc.ChannelConnectivity.CONNECTING:
            await self._channel.wait_for_state_change(state)
        if state is ready:
            await self._channel.wait_for_state_change(ready)

    def _lose(self) -> None:
        if self.learnt is not None:
            self.learnt = None
            self._tell()
