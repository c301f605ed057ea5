"""Whatever these tests start has ended with them."""

import asyncio
import os
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from local_runs import Lumen, Run, a_deployment, a_server, plan, tiny_service

from lumen_local.supervise.orphan_reaper import OrphanReaper
from lumen_local.supervise.service_run import RunServices
from lumen_local.supervise.supervisor import Supervisor
from lumen_process.backoff import Backoff


@pytest.fixture
def supervise(tmp_path):
    """Run services by name, plain servers or pods, till the block ends; then all is killed."""

    @asynccontextmanager
    async def supervised(
        *served: str,
        replicas: int = 1,
        backoff: Backoff | None = None,
        **pods: dict[str, Any],
    ):
        run = Run(tmp_path)
        services = {name: a_deployment(a_server(name, tmp_path)) for name in served} | pods
        router = services.pop("router", None)
        plans = [plan(name, of, tmp_path, replicas) for name, of in services.items()]
        door = plan("router", router, tmp_path) if router else None
        async with OrphanReaper(f"test-{os.getpid()}-{tmp_path.name}") as reaper:
            around = RunServices(
                run.events.append,
                reaper,
                backoff or Backoff(0.05, 1, chance=0),
            )
            supervisor = Supervisor(plans, door, "127.0.0.1:50051", around)
            run.task = asyncio.create_task(supervisor.run(run.stop))
            try:
                yield run
            finally:
                run.task.cancel()
                await asyncio.gather(run.task, return_exceptions=True)

    return supervised


@pytest.fixture
def lumen(tmp_path):
    """Start `lumen`; whatever is left at the end is killed."""
    with ExitStack() as stack:

        def start(*arguments: str, stdin: str | None = None) -> Lumen:
            return stack.enter_context(Lumen(*arguments, cwd=tmp_path, stdin=stdin))

        yield start


@pytest.fixture
def manifest(tmp_path, tiny_cache):
    """Write a manifest of the tiny models; return its path."""

    def written(*families: str, sources: Path = tiny_cache, name: str = "lumen.yaml") -> str:
        path = tmp_path / name
        path.write_text("---".join(tiny_service(family, sources) for family in families))
        return str(path)

    return written
