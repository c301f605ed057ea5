"""JSON schemas of Kubernetes' kinds, made for kubeconform from what Go modules carry.

Kubernetes' own module has the OpenAPI document of its API server; the CRDs of GRPCRoute and
PodMonitor come with the modules of their projects. Each module is pinned by Go's checksum.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from go_tools import GoBuildFailed, cache_folder, go_command

SCHEMA_FILE = "{{ .ResourceKind }}-{{ .Group }}-{{ .ResourceAPIVersion }}.json"
DEFINITIONS = "definitions.json"

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A Go module at a version, its checksum, and the file in it."""

    module: str
    checksum: str
    path: str


KUBERNETES = Source(
    "k8s.io/kubernetes@v1.36.3",
    "h1:qDQdoMiluAE2Eab6Fa52YV+WjiGz9mZFFoagEA6cI+o=",
    "api/openapi-spec/swagger.json",
)
CRDS = (
    Source(
        "sigs.k8s.io/gateway-api@v1.4.0",
        "h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=",
        "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
    ),
    Source(
        "github.com/prometheus-operator/prometheus-operator@v0.86.1",
        "h1:pHUuiRErcFb3nFDox7RxoxpEN0FyT24GtYOkr2GBu04=",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
)


def schema_folder() -> Path:
    """Return the folder with the schemas, made on the first use. Raises GoBuildFailed."""
    made_by = Path(__file__).read_bytes() + repr((KUBERNETES, CRDS)).encode()
    folder = cache_folder() / f"schemas-{hashlib.sha256(made_by).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not folder.is_dir():
            making = folder.with_suffix(".new")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            for name, schema in _schemas():
                (making / name).write_text(json.dumps(schema))
            making.rename(folder)
    return folder


def _schemas() -> Iterator[tuple[str, Schema]]:
    swagger = json.loads(_fetched(KUBERNETES).read_bytes())
    definitions = {name: closed(one) for name, one in swagger["definitions"].items()}
    yield DEFINITIONS, {"definitions": definitions}
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            reference = {"$ref": f"{DEFINITIONS}#/definitions/{name}"}
            yield _file_name(kind["group"], kind["version"], kind["kind"]), reference
    for source in CRDS:
        spec = yaml.safe_load(_fetched(source).read_bytes())["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            yield _file_name(spec["group"], version["name"], spec["names"]["kind"]), schema


def _file_name(group: str, version: str, kind: str) -> str:
    # kubeconform takes the group's first part, and the version for the group of core.
    return f"{kind.lower()}-{group or version}-{version}.json"


def closed(schema: Schema) -> Schema:
    """Say in JSON schema what OpenAPI leaves to the API server: no other keys, and what a quantity
    or a port may be written as.
    """
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    found = dict(schema)
    found.pop("default", None)
    if "resource.Quantity" in str(schema.get("$ref", "")):
        return {"type": ["string", "number"]}
    if "$ref" in found:
        return {"$ref": found["$ref"]}
    if "properties" in found:
        found["properties"] = {name: closed(one) for name, one in found["properties"].items()}
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = closed(found[key])
    return found


def _fetched(source: Source) -> Path:
    """Return the file, from Go's module cache or proxy; raises GoBuildFailed."""
    # The checksum is compared here, so Go's own database need not be asked.
    environment = {**os.environ, "GOWORK": "off", "GONOSUMDB": "*", "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        [go_command(), "mod", "download", "-json", source.module],
        cwd=cache_folder(),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout or "{}")
    if done.returncode != 0 or told.get("Sum") != source.checksum:
        raise GoBuildFailed(f"{source.module}: {told.get('Error') or told.get('Sum')}")
    return Path(told["Dir"]) / source.path
