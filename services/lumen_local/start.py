"""What `lumen up` and `lumen serve` start, as processes of this machine.

`lumen up`: the services of some manifests, and a router in front. A service whose failure cannot
heal (a damaged file, a bad model info) is shown with its remedy, and the others go on; when none is
left the run ends with exit code 1.
`lumen serve`: one server as older ones were started, by a configuration file or by variables. One
service listens on the port itself, without a router. The unified form of older configurations, two
models behind one port, becomes two servers and a router.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lumen_local.errors import NothingToServe, PoolRefused
from lumen_local.pod.machine import Machine, choose_pools, gather_machine
from lumen_local.pod.plans import Planned
from lumen_local.run import Launch, LaunchSettings, launch
from lumen_local.show.choice import Display
from lumen_manifest.caller_names import clashes
from lumen_manifest.legacy.translation import SingleServer
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.reading.parse import ManifestError, Problem, parse_files, parse_text, text_in
from lumen_manifest.reading.yaml_tree import BYTES_MAX, path_text
from lumen_manifest.render import RenderContext
from lumen_manifest.spec.field_types import amount_of
from lumen_process.wording import size

STDIN = "-"


@dataclass(slots=True)
class Manifests:
    """What the files hold; `folders` has the folder of each service's file, by its name."""

    services: list[LumenModelService] = field(default_factory=list)
    pools: list[LumenNodePool] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)


def read_manifests(files: Sequence[str]) -> Manifests:
    """Read every file; `-` is stdin.

    Raises ManifestError with the problems of all files, NothingToServe when there is no service,
    or when the services cannot share one router.
    """
    found, problems = Manifests(), list[Problem]()
    for file in files:
        try:
            resources = _read(file)
        except ManifestError as error:
            problems += error.problems
            continue
        folder = Path.cwd() if file == STDIN else Path(file).resolve().parent
        for resource in resources:
            if isinstance(resource, LumenNodePool):
                found.pools.append(resource)
            else:
                problems += _taken(resource, file, found)
                found.services.append(resource)
                found.folders[resource.name] = folder
    problems = problems or list(_clashes(found))
    if problems:
        raise ManifestError(tuple(problems))
    _check_services(found.services, files)
    return found


def _read(file: str) -> list[LumenModelService | LumenNodePool]:
    if file != STDIN:
        return parse_files([Path(file)])
    return parse_text(text_in(sys.stdin.buffer.read(BYTES_MAX + 1), "stdin"), "stdin")


def _taken(service: LumenModelService, file: str, found: Manifests) -> list[Problem]:
    if service.name not in found.folders:
        return []
    message = f'"{service.name}" is named twice; give one of them another name'
    return [Problem(file, 0, 0, "metadata.name", message)]


def _clashes(found: Manifests) -> Iterator[Problem]:
    """Say which services want one name, across files: a router means one service by it."""
    spaces = {service.metadata.namespace for service in found.services}
    for at, where, said in clashes(found.services) if len(spaces) == 1 else ():
        yield Problem(found.services[at].name, 0, 0, path_text(where), said)


def _check_services(services: Sequence[LumenModelService], files: Sequence[str]) -> None:
    if not services:
        raise NothingToServe(
            f"{', '.join(files)} holds no LumenModelService. "
            "Start from an example: examples/demo.yaml"
        )
    spaces = sorted({service.metadata.namespace for service in services})
    if len(spaces) > 1:
        raise NothingToServe(
            f"The services are in the namespaces {', '.join(spaces)}, and a router serves one. "
            "Run one `lumen up` for each, with its own --port and --state-dir."
        )


def up(files: Sequence[str], settings: LaunchSettings, display: Display) -> int:
    """Run the manifests until a signal; return the exit code.

    Raises ManifestError or LocalError when the start is refused; nothing has been started then.
    """
    manifests = read_manifests(files)
    machine = gather_machine()
    pools = choose_pools(manifests.services, manifests.pools, machine)
    planned = [
        Planned(
            service,
            pools[service.name],
            manifests.folders[service.name],
            RenderContext(rknn_target=machine.rknn_target),
        )
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
        requests, replicas = service.spec.resources.requests, service.spec.replicas
        asked = int(amount_of(requests.get("memory", "0")) or 0) * replicas
        if asked > machine.memory_bytes:
            text = (
                f"asks for {size(asked)} of memory, and this machine has "
                f"{size(machine.memory_bytes)}: it may be killed while it loads."
            )
            yield service.name, text


def serve(server: SingleServer, source: Path, settings: LaunchSettings, display: Display) -> int:
    """Run what was read until a signal; return the exit code.

    Raises LocalError when the start is refused; nothing has been started then.
    """
    services = [single.service for single in server.services]
    machine = gather_machine()
    try:
        pools = choose_pools(services, (), machine)
    except PoolRefused as error:
        raise error.said_at(server.door) from error
    direct = len(services) == 1
    planned = [
        Planned(
            single.service,
            pools[single.service.name],
            source,
            RenderContext(
                backend=single.backend,
                rknn_target=single.rknn_target or machine.rknn_target,
                # Behind a router the server's own address is of no use to anybody.
                mdns=server.mdns if direct else None,
            ),
        )
        for single in server.services
    ]
    settings = replace(settings, mdns=server.mdns)
    warnings = [*(("", text) for text in server.warnings), *machine_warnings(services, machine)]
    return launch(Launch(services, planned, warnings, direct, server.door), settings, display)
