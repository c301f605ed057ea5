"""The programs that the chart's tests run, built from Go modules on the first use."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from go_tools import program


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time only the bodies of these tests: their first fixture may build for minutes."""
    for item in items:
        if "build_visibly" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300, func_only=True))


@pytest.fixture(scope="session")
def build_visibly(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return a program by its name; building it is shown, for it takes a while."""

    def build(name: str) -> Path:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            return program(name)

    return build


@pytest.fixture(scope="session", params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, build_visibly: Callable[[str], Path]) -> Iterator[Path]:
    """Each Helm that we support."""
    return build_visibly(request.param)


@pytest.fixture(scope="session")
def helm3(build_visibly: Callable[[str], Path]) -> Path:
    """Helm 3, where one version is enough because both render the same."""
    return build_visibly("helm3")


@pytest.fixture(scope="session")
def helm4(build_visibly: Callable[[str], Path]) -> Path:
    """Helm 4, to compare with."""
    return build_visibly("helm4")


@pytest.fixture(scope="session")
def helm_unittest(build_visibly: Callable[[str], Path]) -> Path:
    """Runs the suites in charts/lumen/tests."""
    return build_visibly("helm-unittest")


@pytest.fixture(scope="session")
def kubeconform(build_visibly: Callable[[str], Path]) -> Path:
    """Compares manifests with the schemas of their kinds."""
    return build_visibly("kubeconform")


@pytest.fixture(scope="session")
def kube_score(build_visibly: Callable[[str], Path]) -> Path:
    """Looks for what makes a workload fragile or unsafe."""
    return build_visibly("kube-score")
