"""What is counted, and that docs/operator.md names every metric and no other."""

import re
from pathlib import Path

from lumen_cluster import election
from lumen_cluster.errors import Throttled
from lumen_cluster.kinds import DEPLOYMENTS, PODS
from lumen_operator import liveness
from lumen_operator.controller import Controller, Dependencies
from lumen_operator.metrics import OperatorMetrics
from lumen_operator.observe.kinds import SERVICES
from lumen_operator.settings import OperatorSettings


def figures(metrics):
    content_type, page = metrics.page()
    assert content_type.startswith("text/plain")
    rows = (line.rsplit(" ", 1) for line in page.decode().splitlines() if line[0] != "#")
    return {name: float(value) for name, value in rows}


def test_work_is_counted_and_failures_by_their_reason():
    metrics = OperatorMetrics()
    metrics.worked(0.2)
    metrics.failed(Throttled("busy"), 0.1)
    metrics.failed(KeyError("a mistake"), 0.1)
    found = figures(metrics)

    assert found["lumen_operator_reconciles_total"] == 1
    assert found["lumen_operator_reconcile_seconds_count"] == 3
    assert found['lumen_operator_errors_total{reason="throttled"}'] == 1
    assert found['lumen_operator_errors_total{reason="bug"}'] == 1
    assert found['lumen_operator_errors_total{reason="clash"}'] == 0


def test_writes_watches_and_the_audit_are_counted_by_kind():
    metrics = OperatorMetrics()
    metrics.wrote(DEPLOYMENTS, "apply", 0.01)
    metrics.heard(PODS)
    metrics.mismatched(PODS, 3)
    metrics.leads(True)
    found = figures(metrics)

    assert found['lumen_operator_writes_total{kind="Deployment",verb="apply"}'] == 1
    assert found['lumen_operator_watch_events_total{kind="Pod"}'] == 1
    assert found['lumen_operator_audit_mismatches_total{kind="Pod"}'] == 3
    assert found["lumen_operator_leader"] == 1


def test_figures_and_conditions_are_read_when_they_are_asked_for():
    metrics = OperatorMetrics()
    depth, conditions = [0], {}
    metrics.watch("lumen_operator_queue_depth", "Keys that wait.", lambda: depth[0])
    metrics.count_conditions(lambda: conditions)
    assert figures(metrics)["lumen_operator_queue_depth"] == 0

    depth[0] = 7
    conditions[SERVICES.kind, "Ready", "True", "Ready"] = 2
    found = figures(metrics)
    assert found["lumen_operator_queue_depth"] == 7
    labels = 'condition="Ready",kind="LumenModelService",reason="Ready",status="True"'
    assert found[f"lumen_operator_conditions{{{labels}}}"] == 2

    conditions.clear()  # the object is gone
    assert not any(name.startswith("lumen_operator_conditions{") for name in figures(metrics))


PAGE = Path(__file__).parents[3] / "docs" / "operator.md"


class Nobody:
    """An API server that is never asked."""


async def test_the_page_names_every_metric_and_no_other():
    metrics = OperatorMetrics()
    settings = OperatorSettings.from_environment({})
    lease = election.LeaseName("lumen", "lumen-operator", "me")
    found = election.Election(Nobody(), lease)
    Controller(
        Dependencies(
            settings=settings,
            client=Nobody(),
            election=found,
            liveness=liveness.Liveness(bool),
            metrics=metrics,
            reach=Nobody,
        )
    )
    metrics.wrote(DEPLOYMENTS, "apply", 0.1)
    _, page = metrics.page()
    lines = page.decode().splitlines()
    exported = {
        line.split()[2].removesuffix("_total")
        for line in lines
        if line.startswith("# TYPE lumen_operator") and not line.split()[2].endswith("_created")
    }
    written = re.findall(r"^\| `(lumen_operator_\w+)`", PAGE.read_text(), re.MULTILINE)

    assert {name.removesuffix("_total") for name in written} == exported
