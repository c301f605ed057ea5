"""docs/operator.md names every metric that the operator exports, and no other."""

import re
from pathlib import Path

from lumen_cluster import election
from lumen_cluster.kinds import DEPLOYMENTS
from lumen_operator import liveness
from lumen_operator.controller import Controller, Dependencies
from lumen_operator.metrics import OperatorMetrics
from lumen_operator.settings import OperatorSettings

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
