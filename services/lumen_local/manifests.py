"""Reads the files of `lumen up -f` and says what is wrong with all of them at once."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lumen_local.errors import NothingToServe
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.reading.parse import ManifestError, Problem, parse_files, parse_text
from lumen_manifest.reading.yaml_tree import BYTES_MAX

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
    if problems:
        raise ManifestError(tuple(problems))
    _check_services(found.services, files)
    return found


def _read(file: str) -> list[LumenModelService | LumenNodePool]:
    if file != STDIN:
        return parse_files([Path(file)])
    text = sys.stdin.buffer.read(BYTES_MAX + 1).decode("utf-8", "replace")
    return parse_text(text, "stdin")


def _taken(service: LumenModelService, file: str, found: Manifests) -> list[Problem]:
    if service.name not in found.folders:
        return []
    message = f'"{service.name}" is named twice; give one of them another name'
    return [Problem(file, 0, 0, "metadata.name", message)]


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
