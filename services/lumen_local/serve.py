"""`lumen serve`: one server as older ones were started, by a configuration file or by variables.

One service listens on the port itself, without a router. The unified form of older configurations,
two models behind one port, becomes two servers and a router.
"""

from collections.abc import Iterator
from pathlib import Path

from lumen_local.pod.machine import choose_pools, gather_machine
from lumen_local.pod.plans import Planned
from lumen_local.run import Launch, LaunchSettings, launch
from lumen_local.show.display import Display
from lumen_local.up import machine_warnings
from lumen_manifest.legacy.translation import SingleServer
from lumen_manifest.render import RenderContext


def serve(server: SingleServer, source: Path, settings: LaunchSettings, display: Display) -> int:
    """Run what was read until a signal; return the exit code.

    Raises LocalError when the start is refused; nothing has been started then.
    """
    services = [single.service for single in server.services]
    machine = gather_machine()
    pools = choose_pools(services, (), machine)
    direct = len(services) == 1
    planned = [
        Planned(
            single.service,
            pools[single.service.name],
            source,
            RenderContext(
                backend=single.backend,
                rknn_target=single.rknn_target,
                # Behind a router the server's own address is of no use to anybody.
                mdns=server.mdns if direct else None,
            ),
        )
        for single in server.services
    ]
    warnings = [*_warnings(server, direct=direct), *machine_warnings(services, machine)]
    return launch(Launch(services, planned, warnings, direct), settings, display)


def _warnings(server: SingleServer, *, direct: bool) -> Iterator[tuple[str, str]]:
    for text in server.warnings:
        yield "", text
    if server.mdns is not None and server.mdns.enabled and not direct:
        text = "mdns: two models behind one port are not announced; give clients the address."
        yield "", text
