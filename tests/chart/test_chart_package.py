"""The chart as an artifact: what travels, and which version it has."""

import re
import tarfile
import tomllib
from pathlib import Path

import yaml
from chart.rendering import CHART, REPOSITORY, rendered, run, the

from lumen_manifest.render.children import _metric
from lumen_manifest.render.context import IMAGE_TAG
from lumen_manifest.spec.enums import MetricType
from lumen_manifest.spec.service_settings import MetricSpec
from lumen_serving.metrics import ServerMetrics


def test_chart_images_and_package_have_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert {chart["version"], chart["appVersion"], IMAGE_TAG} == {project["version"]}


def test_what_is_packaged_renders_the_same_and_has_no_tests(helm, tmp_path):
    run(helm, "package", CHART, f"--destination={tmp_path}", HOME=str(tmp_path))
    (package,) = tmp_path.glob("lumen-*.tgz")

    with tarfile.open(package) as archive:
        names = archive.getnames()

    assert [name for name in names if "/tests/" in name or name.endswith(".md")] == []
    assert "lumen/values.schema.json" in names
    text = run(helm, "template", "lumen", package, "--namespace=lumen")
    packaged = [document for document in yaml.safe_load_all(text) if document]
    assert packaged == rendered(helm)


def test_the_adapters_rules_give_what_autoscalers_ask_for_from_what_servers_export(helm3):
    documents = rendered(helm3, "--set=monitoring.prometheusAdapterRules.enabled=true")
    config = the(documents, "ConfigMap", "lumen-prometheus-adapter")["data"]["config.yaml"]
    rules = yaml.safe_load(config)["rules"]
    metrics = ServerMetrics()
    metrics.queue_waited(0.1)
    _, page = metrics.page()
    exported = set(re.findall(r"^(lumen_\w+)", page.decode(), re.MULTILINE))

    asked = {
        _metric(MetricSpec(type=kind, target=8))["pods"]["metric"]["name"]
        for kind in (MetricType.INFLIGHT, MetricType.QUEUE_WAIT)
    }

    assert {_given(rule) for rule in rules} == asked
    for rule in rules:
        series = re.match(r"\w+", rule["seriesQuery"])[0]
        query = rule["metricsQuery"].replace("<<.Series>>", series)
        assert set(re.findall(r"lumen_\w+", query)) <= exported


def _given(rule):
    """Return the name of the metric that a rule offers."""
    series = re.match(r"\w+", rule["seriesQuery"])[0]
    name = rule.get("name")
    return re.sub(name["matches"], name["as"].replace("$1", r"\1"), series) if name else series


def test_the_picture_of_helm_test_is_one_of_the_examples():
    pictures = (REPOSITORY / "examples" / "pictures").glob("*.png")

    assert (CHART / "files" / "picture.png").read_bytes() in [one.read_bytes() for one in pictures]


def test_every_template_is_named_after_its_component_and_kind():
    kinds = {
        "clusterroles", "configmap", "deployment", "grpcroute", "ingress", "lease", "networkpolicy",
        "poddisruptionbudget", "rbac", "service", "serviceaccount", "test",
    }  # fmt: skip
    alone = {"_helpers.tpl", "NOTES.txt", "crds.yaml", "podmonitor.yaml", "validations.yaml"}

    names = {path.name for path in (CHART / "templates").iterdir()} - alone

    assert {Path(name).stem.rpartition("-")[2] for name in names} <= kinds
