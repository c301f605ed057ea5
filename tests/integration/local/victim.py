"""Starts one server under a reaper and waits to be killed. Argument: a folder.

The server does not arm itself, and starts a process in a session of its own.
"""

import asyncio
import sys
from pathlib import Path

from local_runs import a_deployment, a_server, plan

from lumen_local.supervise.child import Child
from lumen_local.supervise.orphan_reaper import OrphanReaper

folder = Path(sys.argv[1])
server = a_server("clip", folder, habits="parent,stubborn")
spec = plan("clip", a_deployment(server), folder).pod(0).server


async def main() -> None:
    async with OrphanReaper(spec.env["LUMEN_RUN_ID"]) as reaper:

        def tell() -> None:
            (folder / "pids.new").write_text(f"{child.pid} {reaper.pid}")
            (folder / "pids.new").rename(folder / "pids")

        async with Child(spec, reaper, lambda line: tell()) as child:
            while True:
                await asyncio.sleep(0.1)
                if (folder / "pids").exists():
                    tell()


asyncio.run(main())
