"""What the router is told at its start, first of all where its routes come from."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from lumen_process.settings import SettingsError
from lumen_router import settings
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.from_cluster import open_routes
from lumen_router.settings import ClusterRoutes, FileRoutes, RouterSettings


def routes(**env: str) -> FileRoutes | ClusterRoutes:
    return RouterSettings.from_environment(env).routes


@pytest.fixture(autouse=True)
def _no_pod(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "POD_NAMESPACE", tmp_path / "namespace")


def test_routes_come_from_a_file_unless_told_otherwise():
    assert routes(LUMEN_ROUTES_FILE="r.json") == FileRoutes(Path("r.json"))
    assert routes(LUMEN_ROUTES_FROM="", LUMEN_ROUTES_FILE="r.json") == FileRoutes(Path("r.json"))
    assert routes(LUMEN_ROUTES_FROM="file", LUMEN_ROUTES_FILE="r") == FileRoutes(Path("r"))


def test_routes_come_from_the_namespace_that_is_named():
    told = {"LUMEN_ROUTES_FROM": "cluster", "LUMEN_NAMESPACE": "lab"}

    assert routes(**told) == ClusterRoutes("lab", "")
    assert routes(**told, KUBECONFIG="/k") == ClusterRoutes("lab", "/k")


def test_in_a_pod_the_namespace_is_its_own_unless_named(tmp_path):
    (tmp_path / "namespace").write_text("photos\n")

    assert routes(LUMEN_ROUTES_FROM="cluster") == ClusterRoutes("photos")
    assert routes(LUMEN_ROUTES_FROM="cluster", LUMEN_NAMESPACE="lab") == ClusterRoutes("lab")


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({}, "LUMEN_ROUTES_FROM=cluster"),
        ({"LUMEN_ROUTES_FILE": "r", "LUMEN_GRPC_PORT": "70000"}, "give a port"),
        ({"LUMEN_ROUTES_FILE": "r", "LUMEN_HOLD_S": "-1"}, "LUMEN_HOLD_S is '-1'"),
        ({"LUMEN_ROUTES_FROM": "cluster"}, "LUMEN_NAMESPACE is not set"),
        ({"LUMEN_ROUTES_FROM": "Cluster"}, "choose file or cluster"),
        ({"LUMEN_ROUTES_FROM": "cluster", "LUMEN_NAMESPACE": "../lab"}, "name of a namespace"),
        ({"LUMEN_ROUTES_FROM": "cluster", "LUMEN_NAMESPACE": "a" * 64}, "name of a namespace"),
        ({"LUMEN_ROUTES_FROM": "cluster", "LUMEN_NAMESPACE": "lab\n"}, "name of a namespace"),
    ],
)
def test_what_cannot_be_used_is_said_with_what_to_do(env, sentence):
    with pytest.raises(SettingsError, match=sentence):
        RouterSettings.from_environment(env)


async def test_without_a_cluster_the_setting_that_asks_for_one_is_named(tmp_path):
    async with AsyncExitStack() as stack:
        with pytest.raises(SettingsError, match="LUMEN_ROUTES_FROM is cluster, but nothing says"):
            await open_routes("lab", str(tmp_path / "missing"), RouterMetrics(), stack)
