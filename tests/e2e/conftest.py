"""Fixtures of the end-to-end tests: Lumen installed by its chart on the cluster of KUBECONFIG.

One release serves the whole run; `make e2e` (run.py) starts a cluster where there is none.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent)]

import beside  # noqa: E402 - the path comes first
from kube import Kube  # noqa: E402
from traffic import Traffic  # noqa: E402


@pytest.fixture(scope="session")
def fixtures_image() -> str:
    """The image of what runs beside Lumen."""
    prefix, tag = os.environ["LUMEN_E2E_PREFIX"], os.environ["LUMEN_E2E_TAG"]
    return f"{prefix}/e2e-fixtures:{tag}"


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """A namespace with restricted Pod Security, deleted at the end."""
    programs = {name: shutil.which(name) for name in ("kubectl", "helm")}
    missing = [name for name, path in programs.items() if path is None]
    if missing or not os.environ.get("KUBECONFIG"):
        pytest.fail("these tests need KUBECONFIG, kubectl and helm: run them by `make e2e`")
    kube = Kube(beside.NAMESPACE, *(str(path) for path in programs.values()))
    kube.kubectl("create", "namespace", beside.NAMESPACE)
    kube.kubectl(
        "label", "namespace", beside.NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"
    )
    yield kube
    kube.kubectl("delete", "namespace", beside.NAMESPACE, "--wait=false")


@pytest.fixture(scope="session")
def install(kube: Kube) -> Iterator[Callable[..., None]]:
    """Install Lumen by its chart as a user does; whatever is still there at the end goes."""

    def uninstall() -> None:
        if kube.helm("list", "--all", "--short").strip():
            kube.helm("uninstall", "lumen", "--wait")

    def install(*, keep_definitions: bool) -> None:
        uninstall()
        kube.helm(
            "install",
            "lumen",
            str(_ROOT / "charts" / "lumen"),
            f"--set=images.prefix={os.environ['LUMEN_E2E_PREFIX']}",
            f"--set=images.tag={os.environ['LUMEN_E2E_TAG']}",
            f"--set=crds.keep={str(keep_definitions).lower()}",
        )
        kube.rolled_out("lumen-operator")
        kube.rolled_out("lumen-router")

    yield install
    uninstall()


@pytest.fixture(scope="session")
def release(install: Callable[..., None]) -> str:
    """The release that all tests but those of uninstalling work with."""
    install(keep_definitions=False)
    return "lumen"


@pytest.fixture(scope="session")
def weights(kube: Kube, fixtures_image: str) -> None:
    """The models on a volume and on a web server in the cluster."""
    kube.apply(*beside.weights(fixtures_image))
    kube.wait("wait", "--for=condition=Complete", "job/weights", "--timeout=120s")
    kube.rolled_out("weights")


@pytest.fixture(scope="session")
def demo(kube: Kube, release: str, weights: None) -> None:
    """The demo's two services, Ready: one reads the volume in place, one fetches by HTTP."""
    manifests = yaml.safe_load_all((_ROOT / "examples" / "demo.yaml").read_text())
    sources = {
        "clip": f"pvc://{beside.CLAIM}/demo-clip",
        "bioclip": f"{beside.WEB}/demo-bioclip",
    }
    kube.apply(*(beside.on_cluster(each, sources[each["metadata"]["name"]]) for each in manifests))
    kube.wait("wait", "--for=condition=Ready", "lms/clip", "lms/bioclip", "--timeout=180s")


@pytest.fixture(scope="session")
def traffic(kube: Kube, demo: None, fixtures_image: str) -> Traffic:
    """Twenty calls a second from two pods, from now to the end of the run."""
    kube.apply(beside.callers(fixtures_image, f"grpc://{beside.ROUTER}", pods=2, rate=10))
    kube.rolled_out("caller")
    traffic = Traffic(kube)
    kube.until(lambda: traffic.totals().settled > 20, "calls are answered")
    return traffic
