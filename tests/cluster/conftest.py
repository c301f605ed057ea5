"""The control plane that the cluster's tests share, and what they do with it.

    def test_x(control_plane, namespace):
        control_plane.add_node(unique_name("gpu"), devices={"nvidia.com/gpu": 1})
        control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest)

All processes of a test run share one control plane: its objects outside namespaces (nodes, pools)
get unique names, and labels that only the test's own pods select. A test that restarts or pauses
the API server takes `private_control_plane`, or it would disturb its neighbours.
How pods behave is said by annotations of the pod: see controlplane/nodes.py.
"""

from collections.abc import Iterator

import pytest
from controlplane.binaries import Binaries, find_binaries
from controlplane.cluster import Cluster, unique_name
from controlplane.plane import ControlPlane, running_control_plane
from controlplane.shared import shared_control_plane
from go_tools import visible_output
from router_in_cluster import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time only the bodies of these tests: their first fixture may build for minutes."""
    for item in items:
        if "control_plane_binaries" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Say with a failure where the control plane's logs are."""
    report = yield
    if report.failed:
        arguments = getattr(item, "funcargs", {})
        for name in ("control_plane", "private_control_plane"):
            if name in arguments:
                logs = arguments[name].access.folder / "logs"
                report.sections.append((name, f"its logs: {logs}"))
    return report


@pytest.fixture(scope="session")
def control_plane_binaries(request: pytest.FixtureRequest) -> Binaries:
    """The programs of a control plane, built on the first use, with visible progress."""
    with visible_output(request):
        return find_binaries()


@pytest.fixture(scope="session")
def control_plane(
    control_plane_binaries: Binaries, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[Cluster]:
    """The control plane of this test run, with our CRDs and one plain node; started on demand."""
    own = tmp_path_factory.getbasetemp()
    # Under pytest-xdist the run's folder holds one folder per process.
    folder = own if worker_id == "master" else own.parent
    with shared_control_plane(folder / "control-plane", control_plane_binaries) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def private_control_plane(
    control_plane_binaries: Binaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """A control plane of this module's own, whose API server may be stopped and paused."""
    folder = tmp_path_factory.mktemp("private-control-plane")
    with running_control_plane(folder, control_plane_binaries) as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace's name; it is deleted without waiting."""
    name = unique_name("test")
    control_plane.create_namespace(name)
    yield name
    control_plane.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def lab(control_plane: Cluster, namespace: str) -> Lab:
    """A namespace that routers watch; tests of the operator have a lab of their own."""
    return Lab(control_plane, namespace)
