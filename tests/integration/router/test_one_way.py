"""The way of one smart_classify call through the router: from the socket to two pods and back.

Who wants to understand a call reads the files that it crosses. They are listed in the order in
which the call first gets there, and bounded, so that no detour is added unseen.
"""

import asyncio
import sys
from contextlib import contextmanager
from pathlib import PurePath

from router_world import ScriptedPod, a_service, a_world

MOST = 12
"""Files of lumen_router that one call crosses; those of lumen_wire are shared with the server."""


@contextmanager
def the_way():
    """Yield the files of Lumen in which a call of a function begins, in order of the first one.

    What tasks do that ran before is no part of it, nor what the pods of this process do.
    """
    others, crossed = asyncio.all_tasks(), {}

    def look(frame, event, _):
        parts = PurePath(frame.f_code.co_filename).parts
        package = next((at for at, part in enumerate(parts) if part.startswith("lumen_")), None)
        if event != "call" or package is None or _task() in others or _of_a_pod(frame):
            return
        crossed.setdefault("/".join(parts[package:]))

    sys.setprofile(look)
    try:
        yield crossed
    finally:
        sys.setprofile(None)


def _task():
    try:
        return asyncio.current_task()
    except RuntimeError:  # a thread of gRPC's own
        return None


def _of_a_pod(frame):
    while frame is not None:
        if frame.f_code.co_name == "Infer" and frame.f_code.co_filename.endswith("router_world.py"):
            return True
        frame = frame.f_back
    return False


async def test_a_call_crosses_few_files(tmp_path):
    clip, bioclip = ScriptedPod(), ScriptedPod("bioclip")
    async with a_world(tmp_path, clip, bioclip) as world:
        await world.routed(
            a_service(), a_service("bioclip", "bioclip"), clip=[clip], bioclip=[bioclip]
        )
        with the_way() as crossed:
            answer = await world.infer("smart_classify")

    assert answer.meta["source"] == "bioclip_classification"
    by_package = {}
    for name in crossed:
        by_package.setdefault(name.partition("/")[0], []).append(name)
    print("\n".join(crossed))
    print({package: len(files) for package, files in by_package.items()})
    own = by_package["lumen_router"]
    assert own[0] == "lumen_router/grpc_api/servicer.py"
    assert "lumen_router/upstream/forward.py" in own
    assert len(own) <= MOST
