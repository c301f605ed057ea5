"""Starts one server under a reaper and waits to be killed. Arguments: a folder, a port.

The server does not arm itself, and starts a process in a session of its own.
"""

import asyncio
import os
import sys
from pathlib import Path

from lumen_local.pod.processes import PodPorts, ProcessSpec
from lumen_local.supervise.child import Child
from lumen_local.supervise.orphan_reaper import OrphanReaper

folder, port = Path(sys.argv[1]), int(sys.argv[2])
run_id = f"victim-{os.getpid()}"
spec = ProcessSpec(
    name="server",
    argv=(sys.executable, str(Path(__file__).parent / "fake_server.py")),
    env={
        **os.environ,
        "NAME": "clip",
        "HABITS": "parent,stubborn",
        "SWITCH": str(folder / "switch"),
        "DIARY": str(folder / "diary"),
        "LUMEN_HEALTH_PORT": str(port),
        "LUMEN_RUN_ID": run_id,
    },
    cwd=folder,
    ports=PodPorts(grpc=port, health=port, metrics=port),
    termination_log=folder / "termination",
)


async def main() -> None:
    async with OrphanReaper(run_id) as reaper:

        def tell() -> None:
            (folder / "pids.new").write_text(f"{child.pid} {reaper.pid}")
            (folder / "pids.new").rename(folder / "pids")

        async with Child(spec, reaper, lambda line: tell()) as child:
            while True:
                await asyncio.sleep(0.1)
                if (folder / "pids").exists():
                    tell()


asyncio.run(main())
