"""Every value of the manual does something, and nothing beside them is taken, at any depth."""

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from chart.rendering import CHART, REPOSITORY, ProgramFailed, manifests, template

GIVEN = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
Path = tuple[str, ...]

# What a value needs beside it to have a meaning.
BALANCER = {"router": {"service": {"type": "LoadBalancer"}}}
BESIDE: dict[str, dict[str, Any]] = {
    "router.service.nodePort": {"router": {"service": {"type": "NodePort"}}},
    "router.service.loadBalancerIP": BALANCER,
    "router.service.loadBalancerClass": BALANCER,
    "router.service.loadBalancerSourceRanges": BALANCER,
    "router.service.externalTrafficPolicy": BALANCER,
    "router.ingress": {"router": {"ingress": {"enabled": True, "host": "a.example.org"}}},
    "router.grpcRoute": {"router": {"grpcRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}}},
    "router.mdns": {"router": {"mdns": {"enabled": True}, "service": {"type": "NodePort"}}},
    "operator.serviceAccount.create": {"operator": {"serviceAccount": {"name": "own"}}},
    "router.serviceAccount.create": {"router": {"serviceAccount": {"name": "own"}}},
    "networkPolicy.externalPorts": {"external": {"allowedNetworks": ["192.168.7.0/24"]}},
    "monitoring.podMonitor": {"monitoring": {"podMonitor": {"enabled": True}}},
}
# Another value than the manual's, where its type alone does not give a good one.
SAMPLES: dict[str, Any] = {
    "images.pullPolicy": "Always",
    "images.pullSecrets": [{"name": "registry"}],
    "global": {"imageRegistry": "registry.example.org"},
    "operator.sourceEnv": {"HF_ENDPOINT": "https://hub.example.org"},
    "operator.defaultPools": [{"name": "cpu", "spec": {"accelerator": "cpu"}}],
    "router.service.type": "NodePort",
    "router.service.nodePort": 30051,
    "router.service.loadBalancerIP": "192.168.7.50",
    "router.service.loadBalancerClass": "example.org/balancer",
    "router.service.loadBalancerSourceRanges": ["192.168.0.0/16"],
    "router.service.externalTrafficPolicy": "Local",
    "router.grpcRoute.parentRefs": [{"name": "public"}],
    "router.mdns.type": "_clip._tcp.local.",
    "router.mdns.address": "192.168.7.50",
    "networkPolicy.callers": [{"podSelector": {}}],
    "external.allowedNetworks": ["192.168.7.0/24"],
    "monitoring.podMonitor.interval": "15s",
}
BY_NAME: dict[str, Any] = {
    "logLevel": "debug",
    "logFormat": "console",
    "env": [{"name": "EXTRA", "value": "1"}],
    "tolerations": [{"operator": "Exists"}],
    "hostnames": ["lumen.example.org"],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "cpu": "77m",
    "memory": "777Mi",
    "ephemeral-storage": "77Mi",
}


def leaves(values: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


LEAVES = [".".join(path) for path in leaves(GIVEN)]


def other_than(path: str, value: Any) -> Any:
    """Another value for a leaf, by its place, its name or its type."""
    name = path.rpartition(".")[2]
    if path in SAMPLES or name in BY_NAME:
        return SAMPLES.get(path, BY_NAME.get(name))
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return "another"
        case dict():
            return {"example.org": "another"}
        case [int(), *_]:
            return [8888]
    raise AssertionError(f"{path}: give a sample of another value")


def nested(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def rendered_with(helm3, folder, *values: dict[str, Any]) -> list[dict[str, Any]]:
    files = []
    for number, one in enumerate(values):
        file = folder / f"{number}.yaml"
        file.write_text(yaml.safe_dump(one))
        files.append(f"--values={file}")
    return manifests(template(helm3, *files))


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_of_the_manual_changes_what_is_rendered(helm3, tmp_path, path):
    given = functools.reduce(dict.get, path.split("."), GIVEN)
    beside = [one for prefix, one in BESIDE.items() if path.startswith(prefix)]
    # What is switched on is switched on by what stands beside it too.
    before = [*beside, nested(path, given)] if path.endswith(".enabled") else beside
    after = [*beside, nested(path, other_than(path, given))]

    changed = rendered_with(helm3, tmp_path, *before) != rendered_with(helm3, tmp_path, *after)

    assert changed


# Keys in them are other people's: a chart around this one's, or Kubernetes' further down.
OPEN = {"global", "nodeAffinity", "podAffinity", "podAntiAffinity"} | {
    *("podSelector", "namespaceSelector", "ipBlock"),
    *("configMapKeyRef", "secretKeyRef", "fieldRef", "resourceFieldRef", "fileKeyRef"),
}


def levels(schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every object of the schema, and where it is; `[]` is an entry of a list."""
    schema = resolved(schema)
    if schema.get("type") == "object":
        yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from levels(below, (*path, name))
    if "items" in schema:
        yield from levels(schema["items"], (*path, "[]"))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema


LEVELS = list(levels(SCHEMA))
CLOSED = [path for path, one in LEVELS if one.get("additionalProperties") is False]


def test_every_level_of_the_schema_says_which_keys_it_takes():
    assert [path for path, one in LEVELS if "additionalProperties" not in one] == [
        path for path, _ in LEVELS if path and path[-1] in OPEN
    ]
    assert len(CLOSED) > 30


@pytest.mark.parametrize("path", CLOSED, ids=".".join)
def test_a_typo_is_refused_wherever_it_is_made(helm3, tmp_path, path):
    value: Any = {"typo": 1}
    for name in reversed(path):
        value = [value] if name == "[]" else {name: value}

    with pytest.raises(ProgramFailed, match="'typo' not allowed"):
        rendered_with(helm3, tmp_path, value)


def test_the_chart_knows_the_fields_of_a_pool_as_they_are():
    crds = [yaml.safe_load(path.read_text()) for path in (REPOSITORY / "crds").glob("*.yaml")]
    (pool,) = (one["spec"] for one in crds if one["spec"]["names"]["kind"] == "LumenNodePool")
    fields = pool["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    entry = SCHEMA["properties"]["operator"]["properties"]["defaultPools"]["items"]

    assert keys_of(entry["properties"]["spec"]) == keys_of(fields)


def keys_of(schema: dict[str, Any], path: Path = ()) -> set[Path]:
    found = {(*path, name) for name in schema.get("properties", {})}
    for name, below in schema.get("properties", {}).items():
        found |= keys_of(below, (*path, name))
    return found | keys_of(schema["items"], path) if "items" in schema else found
