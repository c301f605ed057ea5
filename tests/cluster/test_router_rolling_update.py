"""A rolling update as a caller of 20 calls a second sees it: real servers, slices as written by
Kubernetes, a real watch. Nothing is lost.
"""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc.aio
import pytest
from router_in_cluster import ClusterWorld, Lab, a_cluster_world, an_endpoint
from router_world import until
from serving_servers import NOT_SERVING, RunningServer, a_config, a_server

CALLS_A_SECOND = 20
# As the chart's pods have them.
POD = {"LUMEN_BACKEND": "fake", "LUMEN_DRAIN_DELAY_S": "5", "LUMEN_GRACE_S": "25"}


@dataclass
class Caller:
    """Sends a call each 50 ms, whatever became of those before, and counts what comes back."""

    world: ClusterWorld
    codes: Counter = field(default_factory=Counter)
    taken_ms: list[float] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._done = asyncio.Event()
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._done.set()
        await self._task

    async def _send(self) -> None:
        async with asyncio.TaskGroup() as calls:
            begun, count = time.monotonic(), 0
            while not self._done.is_set():
                calls.create_task(self._call())
                count += 1
                await asyncio.sleep(begun + count / CALLS_A_SECOND - time.monotonic())

    async def _call(self) -> None:
        started = time.monotonic()
        try:
            await self.world.infer("embed", b"a photo of a robin")
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
        else:
            self.codes["OK"] += 1
        self.taken_ms.append((time.monotonic() - started) * 1000)

    async def goes_on(self, calls: int = 20) -> None:
        """Return when that many more calls have been answered well."""
        wanted = self.codes["OK"] + calls
        await until(lambda: self.codes["OK"] >= wanted, f"{calls} more calls")

    def __str__(self) -> str:
        ordered = sorted(self.taken_ms)
        median, tail = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        return (
            f"{len(ordered)} calls {dict(self.codes)}, p50 {median:.0f} ms, p99 {tail:.0f} ms, "
            f"longest {ordered[-1]:.0f} ms"
        )


class Fleet:
    """The pods of one variant, and the slice that the endpoint slice controller writes of them."""

    def __init__(self, lab: Lab, world: ClusterWorld, folder: Path, model: Path) -> None:
        self._lab = lab
        self._world = world
        self._folder = folder
        self._config = a_config(model)
        self._listed: dict[str, dict] = {}
        self._servers: dict[str, RunningServer] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def add(self) -> str:
        """Start a pod; return its address in the cluster once the probe has found it ready."""
        folder = self._folder / f"pod-{len(self._servers)}"
        server = await self._world.do(
            self._stack.enter_context, a_server(self._config, folder, POD)
        )
        host = self._lab.host(server.address)
        self._servers[host] = server
        await self._list(host, ready=False)
        await self._world.do(server.wait_for_health)
        await self._list(host)
        await until(lambda: server.address in self._world.ready_addresses(), "the new pod ready")
        return host

    async def remove(self, host: str, *, said: bool = True) -> None:
        """Let a pod go: the kubelet's signal and the slice follow from one deletion.

        Unless `said`, the slice tells of it only when the pod has gone.
        """
        server = self._servers[host]
        server.process.terminate()
        await self._world.do(server.wait_for_health, NOT_SERVING)
        if said:
            await self._list(host, leaving=True)
        assert await self._world.do(server.process.wait, 60) == 0
        del self._listed[host]
        await self._world.do(self._lab.list_pods, *self._listed.values())

    async def _list(self, host: str, **conditions: bool) -> None:
        self._listed[host] = an_endpoint(host, **conditions)
        await self._world.do(self._lab.list_pods, *self._listed.values())


@pytest.mark.parametrize(
    ("replicas", "said"), [(2, True), (1, True), (2, False)], ids=["two", "one", "two-told-late"]
)
async def test_a_rolling_update_that_surges_loses_no_call(
    lab, tmp_path, tiny_cache, replicas, said
):
    async with (
        a_cluster_world(lab) as world,
        Fleet(lab, world, tmp_path, tiny_cache / "models" / "tiny-clip") as fleet,
    ):
        await world.do(lab.serve)
        old = [await fleet.add() for _ in range(replicas)]
        async with Caller(world) as caller:
            await caller.goes_on()
            for host in old:
                await fleet.add()
                await caller.goes_on()
                await fleet.remove(host, said=said)
                await caller.goes_on()

    when = "at once" if said else "late"
    print(f"rolling update of {replicas}, surging, slices written {when}: {caller}")
    assert set(caller.codes) == {"OK"}


async def test_an_update_of_one_replica_at_a_time_holds_the_calls_and_loses_none(
    lab, tmp_path, tiny_cache
):
    async with (
        a_cluster_world(lab) as world,
        Fleet(lab, world, tmp_path, tiny_cache / "models" / "tiny-clip") as fleet,
    ):
        await world.do(lab.serve)
        old = await fleet.add()
        async with Caller(world) as caller:
            await caller.goes_on()
            await fleet.remove(old)
            await fleet.add()
            await caller.goes_on()

    print(f"update of the only replica, without surge: {caller}")
    assert set(caller.codes) == {"OK"}
