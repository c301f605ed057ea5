"""`lumen up`: the services of some manifests, and a router in front, as processes of this machine.

A service whose failure cannot heal (a damaged file, a bad model info) is shown with its remedy, and
the others go on; when none is left the run ends with exit code 1.
"""

from collections.abc import Iterator, Sequence

from lumen_local.launch import Launch, LaunchSettings, launch
from lumen_local.manifests import read_manifests
from lumen_local.pod.machine import Machine, choose_pools, gather_machine
from lumen_local.pod.plans import Planned
from lumen_local.pod.quantities import memory_bytes
from lumen_local.show.display import Display
from lumen_local.show.wording import size
from lumen_manifest.model_service import LumenModelService


def up(files: Sequence[str], settings: LaunchSettings, display: Display) -> int:
    """Run the manifests until a signal; return the exit code.

    Raises ManifestError or LocalError when the start is refused; nothing has been started then.
    """
    manifests = read_manifests(files)
    machine = gather_machine()
    pools = choose_pools(manifests.services, manifests.pools, machine)
    planned = [
        Planned(service, pools[service.name], manifests.folders[service.name])
        for service in manifests.services
        if service.name in pools and service.spec.replicas > 0
    ]
    warnings = list(machine_warnings(manifests.services, machine))
    return launch(Launch(manifests.services, planned, warnings), settings, display)


def machine_warnings(
    services: Sequence[LumenModelService], machine: Machine
) -> Iterator[tuple[str, str]]:
    """Say what a person should know of this machine, by service; nothing is refused for it."""
    for service in services:
        if service.spec.external is not None:
            continue
        if service.spec.replicas == 0:
            yield service.name, "spec.replicas is 0: it is not started."
        asked = memory_bytes(service.spec.resources.requests.get("memory", "0"))
        if asked * service.spec.replicas > machine.memory_bytes:
            text = (
                f"asks for {size(asked * service.spec.replicas)} of memory, and this machine has "
                f"{size(machine.memory_bytes)}: it may be killed while it loads."
            )
            yield service.name, text
