"""Starts one server under a guard and waits to be killed. Arguments: a folder, a port.

The server does not arm itself, and starts a process in a session of its own.
"""

import asyncio
import os
import sys
from pathlib import Path

from lumen_local.pod.pod_env import PodPorts
from lumen_local.pod.processes import ProcessSpec
from lumen_local.supervise.child import Child
from lumen_local.supervise.guarded import Guard

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
    async with Guard(run_id) as guard:

        def tell() -> None:
            (folder / "pids.new").write_text(f"{child.pid} {guard.pid}")
            (folder / "pids.new").rename(folder / "pids")

        async with Child(spec, guard, lambda line: tell()) as child:
            while True:
                await asyncio.sleep(0.1)
                if (folder / "pids").exists():
                    tell()


asyncio.run(main())
