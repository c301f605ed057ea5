"""values.yaml is the manual, and values.schema.json refuses what is not in it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from chart.rendering import CHART, ProgramFailed, run, template
from chart.rendering import VALUES as VALUE_FILES

from lumen_manifest.spec.enums import Accelerator

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# Their keys are Kubernetes' or the user's; the schema says which, values.yaml gives an example.
FREE = {"resources", "affinity", "global"}


def sections(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every object whose keys are ours."""
    schema = resolved(schema)
    if "properties" in schema and (not path or path[-1] not in FREE):
        yield path
        for name, below in schema["properties"].items():
            yield from sections(below, (*path, name))


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema


def schema_at(path: tuple[str, ...]) -> dict[str, Any]:
    found = SCHEMA
    for name in path:
        found = resolved(resolved(found)["properties"][name])
    return found


SECTIONS = list(sections(SCHEMA))


def test_both_helms_refuse_a_typo_and_name_it(helm):
    with pytest.raises(ProgramFailed, match="'replcas' not allowed"):
        template(helm, "--set", "router.replcas=3")


@pytest.mark.parametrize(
    "wrong",
    [
        "images.pullPolicy=Sometimes",
        "images.prefix=",
        "images.prefix=registry.example.org/",
        "images.prefix=https://registry.example.org/lumen",
        "images.prefix=registry.example.org/Lumen",
        "images.tag=a b",
        "operator.logLevel=loud",
        "operator.watchNamespace=Lumen",
        "operator.replicas=-1",
        "operator.workers=0",
        "operator.defaultPools[0].name=cpu",
        "operator.env[0].name=1st",
        "operator.sourceEnv.HTTPS-PROXY=http://proxy.example.org:3128",
        "operator.resources.limit.memory=1Gi",
        "router.service.type=ExternalName",
        "router.service.port=0",
        "router.heldMiB=0",
        "router.ingress.host=https://lumen.example.org",
        "router.grpcRoute.hostnames[0]=",
        "router.mdns.address=attic.local",
        "router.mdns.type=lumen",
        "router.mdns.type=_longer-than-15-bytes._tcp.local.",
        "networkPolicy.apiServerPorts[0]=70000",
        "external.allowedNetworks[0]=192.168.7.20",
        "external.allowedNetworks[0]=192.168.7.0/33",
        "external.allowedNetworks[0]=board.lan/24",
        "monitoring.podMonitor.interval=often",
        "crds.keep=maybe",
        "fullnameOverride=2lumen",
    ],
)
def test_a_value_that_cannot_be_right_is_refused(helm3, wrong):
    with pytest.raises(ProgramFailed, match="specifications of the schema"):
        template(helm3, "--set", wrong)


def test_a_pool_of_an_unknown_accelerator_is_refused(helm3):
    pool = schema_at(("operator",))["properties"]["defaultPools"]["items"]["properties"]
    first = "operator.defaultPools[0]"

    with pytest.raises(ProgramFailed, match="one of 'cpu', 'cuda', 'rocm', 'rk3588'"):
        template(helm3, "--set", f"{first}.name=gpu,{first}.spec.accelerator=nvidia")

    assert set(pool["spec"]["properties"]["accelerator"]["enum"]) == set(Accelerator)


@pytest.mark.parametrize(
    "right",
    [
        "images.prefix=lumen",
        "images.prefix=registry:5000/home/lumen_2",
        "images.prefix=10.0.0.1:5000/a.b/c-d",
        "router.ingress.host=*.example.org",
        "router.mdns.address=fd00::7",
        "external.allowedNetworks={192.168.7.0/24,fd00:7::/64}",
    ],
)
def test_a_value_that_may_be_right_is_not_refused(helm3, right):
    assert template(helm3, "--set", right)


@pytest.mark.parametrize("path", SECTIONS, ids=".".join)
def test_the_manual_lists_exactly_the_values_that_exist(path):
    given = VALUES
    for name in path:
        given = given[name]

    assert set(given) == set(schema_at(path)["properties"]) - FREE | (set(given) & FREE)


def test_the_manual_says_of_each_value_what_it_is_for():
    lines = (CHART / "values.yaml").read_text().splitlines()
    uncommented = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r" *[A-Za-z]+:", line)
        and not before.lstrip().startswith("#")
        # What stands below `resources` is Kubernetes' own.
        and not re.match(r" *(requests|limits): ", line)
    ]

    assert uncommented == []


def test_the_value_sets_of_the_tests_use_every_section():
    """So that each template's every branch is rendered by lint, kubeconform and kube-score."""
    given = yaml.safe_load((VALUE_FILES / "everything.yaml").read_text())

    unused = [
        path for path in SECTIONS if path and path[-1] != "serviceAccount" and not at(given, path)
    ]

    assert unused == [("crds",), ("userRoles",)]


def at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values.get(name, {})
    return values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["router.ingress.enabled=true"], "router.ingress.host is empty"),
        (["router.grpcRoute.enabled=true"], "router.grpcRoute.parentRefs is empty"),
        (["router.service.nodePort=30051"], "needs router.service.type NodePort or LoadBalancer"),
        (
            ["router.service.externalTrafficPolicy=Local"],
            "externalTrafficPolicy needs router.service.type NodePort or LoadBalancer",
        ),
        (
            ["router.service.type=NodePort", "router.service.loadBalancerClass=a/b"],
            "loadBalancerClass needs router.service.type LoadBalancer",
        ),
        (
            [r"commonLabels.app\.kubernetes\.io/part-of=photos"],
            "commonLabels: app.kubernetes.io/part-of is the chart's own",
        ),
        (
            [r"router.podLabels.app\.kubernetes\.io/component=door"],
            "router.podLabels: app.kubernetes.io/component is the chart's own",
        ),
        (["router.mdns.enabled=true"], "set router.service.type to LoadBalancer or NodePort"),
        (["operator.serviceAccount.create=false"], "operator.serviceAccount.name is empty"),
        (["router.serviceAccount.create=false"], "router.serviceAccount.name is empty"),
        (
            ["crds.install=false", "operator.enabled=false", "router.enabled=false"],
            "there is nothing to install",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_a_remedy(helm, options, said):
    with pytest.raises(ProgramFailed, match=said):
        template(helm, "--set", ",".join(options))


@pytest.mark.parametrize("release", ["2024", "my.lumen"])
def test_a_release_whose_name_no_service_may_have_is_refused_with_a_remedy(helm, release):
    with pytest.raises(ProgramFailed, match="choose another by fullnameOverride"):
        run(helm, "template", release, CHART)

    assert run(helm, "template", release, CHART, "--set=fullnameOverride=lumen")
