"""The programs that the chart's tests run, built from Go modules on the first use."""

from collections.abc import Callable
from pathlib import Path

import pytest
from go_tools import program, visible_output


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time only the bodies of these tests: their first fixture may build for minutes."""
    for item in items:
        if "build_visibly" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300, func_only=True))


@pytest.fixture(scope="session")
def build_visibly(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return a program by its name; building it is shown, for it takes a while."""

    def build(name: str) -> Path:
        with visible_output(request):
            return program(name)

    return build


@pytest.fixture(scope="session", params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, build_visibly: Callable[[str], Path]) -> Path:
    """Each Helm that we support; `helm3` alone is enough where both render the same."""
    return build_visibly(request.param)


def _program(name: str) -> object:
    @pytest.fixture(scope="session", name=name.replace("-", "_"))
    def built(build_visibly: Callable[[str], Path]) -> Path:
        return build_visibly(name)

    return built


helm3, helm4 = _program("helm3"), _program("helm4")
helm_unittest = _program("helm-unittest")  # runs the suites in charts/lumen/tests
kubeconform = _program("kubeconform")  # compares manifests with the schemas of their kinds
kube_score = _program("kube-score")  # looks for what makes a workload fragile or unsafe
