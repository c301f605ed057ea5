"""The chart on a real API server: installed, upgraded, uninstalled, by both Helms."""

import contextlib
import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from chart.rendering import CHART, REPOSITORY, ProgramFailed, run
from controlplane.cluster import KubectlFailed
from controlplane.programs import wait_until
from go_tools import program, visible_output

DEFINITIONS = ("lumenmodelservices.lumen.dev", "lumennodepools.lumen.dev")
SERVICE = REPOSITORY / "examples" / "clip-service.yaml"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


class Release:
    """A release named lumen in a namespace of its own, by one Helm."""

    def __init__(self, helm: Path, plane, namespace: str, home: Path) -> None:
        self.plane = plane
        self.namespace = namespace
        self._helm = helm
        self._environment = {"KUBECONFIG": str(plane.admin_kubeconfig), "HOME": str(home)}

    def helm(self, *arguments: str | Path) -> str:
        return run(self._helm, *arguments, f"--namespace={self.namespace}", **self._environment)

    def install(self, chart: Path = CHART, *options: str) -> str:
        return self.helm("install", "lumen", chart, "--wait", "--timeout=50s", *options)

    def upgrade(self, *options: str) -> str:
        return self.helm("upgrade", "lumen", CHART, "--wait", "--timeout=50s", *options)

    def uninstall(self) -> str:
        return self.helm("uninstall", "lumen", "--wait", "--timeout=50s")

    def left(self) -> list[str]:
        """Everything with the release's label that the API server still has."""
        kinds = self.plane.kubectl("api-resources", "--verbs=list,delete", "-o=name").split()
        selector = "--selector=app.kubernetes.io/instance=lumen,app.kubernetes.io/name=lumen"
        namespace = f"--namespace={self.namespace}"
        # Events expire by themselves; metrics and reviews are not kept at all.
        asked = ",".join(kind for kind in kinds if not kind.startswith("events"))
        return self.plane.kubectl("get", asked, selector, namespace, "-o=name").split()


pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def helm(request):
    with visible_output(request):
        return program(request.param)


@pytest.fixture
def release(helm, private_control_plane, tmp_path):
    """A release that is not installed yet, on a cluster without our definitions."""
    plane = private_control_plane
    _without_definitions(plane)
    namespace = f"lumen-{tmp_path.name.lower().replace('_', '-')}"[:60].rstrip("-")
    plane.create_namespace(namespace, RESTRICTED)
    yield Release(helm, plane, namespace, tmp_path)
    for kind in ("clusterrole", "clusterrolebinding"):
        plane.kubectl("delete", kind, "--selector=app.kubernetes.io/part-of=lumen")
    plane.kubectl("delete", "namespace", namespace, "--wait=false")


def _without_definitions(plane):
    def gone() -> bool:
        # The API server cannot end a definition whose instances it cannot list yet, and its next
        # try comes later each time; any change to the definition makes it try at once.
        tried = f"tried={time.monotonic()}"
        with contextlib.suppress(KubectlFailed):
            plane.kubectl("annotate", "crd", *DEFINITIONS, tried, "--overwrite")
        with contextlib.suppress(KubectlFailed):
            plane.kubectl("delete", "crd", *DEFINITIONS, "--ignore-not-found", "--timeout=10s")
        return not plane.kubectl("get", "crd", *DEFINITIONS, "--ignore-not-found", "-o=name")

    wait_until(gone, 120.0, "the definitions of the test before are gone")


def definition(plane, name):
    return json.loads(plane.kubectl("get", "crd", name, "-o=json"))


def an_older_chart(folder: Path) -> Path:
    """The chart as it was before: another version, without a column that came later."""
    older = folder / "older" / "lumen"
    shutil.copytree(CHART, older)
    about = yaml.safe_load((older / "Chart.yaml").read_text())
    (older / "Chart.yaml").write_text(yaml.safe_dump(about | {"version": "0.0.9"}))
    path = older / "files" / "crds" / "lumen.dev_lumenmodelservices.yaml"
    document = yaml.safe_load(path.read_text())
    document["spec"]["versions"][0]["additionalPrinterColumns"].pop()
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return older


def test_a_restricted_namespace_takes_every_pod_and_install_waits_for_them(release):
    said = release.install()

    assert f"is installed in namespace {release.namespace}" in said
    assert f"LUMEN_DISCOVERY_STATIC_NODES=lumen-router.{release.namespace}.svc:50051" in said
    pods = release.plane.pods(release.namespace, "app.kubernetes.io/part-of=lumen")
    components = sorted(pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods)
    assert components == ["operator", "router", "router"]


def test_an_upgrade_upgrades_the_definitions(release, tmp_path):
    release.install(an_older_chart(tmp_path))
    name = DEFINITIONS[0]
    before = definition(release.plane, name)["spec"]["versions"][0]["additionalPrinterColumns"]

    release.upgrade()

    after = definition(release.plane, name)["spec"]["versions"][0]["additionalPrinterColumns"]
    generated = yaml.safe_load(
        (REPOSITORY / "crds" / "lumen.dev_lumenmodelservices.yaml").read_text()
    )
    assert after == generated["spec"]["versions"][0]["additionalPrinterColumns"]
    assert len(before) == len(after) - 1


def test_an_upgrade_leaves_the_holder_of_the_lease_alone(release):
    release.install()
    path = f"/apis/coordination.k8s.io/v1/namespaces/{release.namespace}/leases/lumen-operator"
    release.plane.patch(path, {"spec": {"holderIdentity": "lumen-operator-abc"}})

    release.upgrade("--set=operator.workers=3")

    assert release.plane.get(path)["spec"]["holderIdentity"] == "lumen-operator-abc"


def test_uninstall_keeps_definitions_and_services_and_a_later_install_takes_them_over(release):
    release.install()
    release.plane.kubectl("apply", "-n", release.namespace, "-f", str(SERVICE))

    release.uninstall()

    kept = {f"customresourcedefinition.apiextensions.k8s.io/{name}" for name in DEFINITIONS}
    wait_until(lambda: set(release.left()) == kept, 60.0, "nothing but the definitions is left")
    assert "clip" in release.plane.kubectl("get", "lms", "-n", release.namespace, "-o=name")
    release.install()
    assert "clip" in release.plane.kubectl("get", "lms", "-n", release.namespace, "-o=name")


def test_uninstall_leaves_nothing_when_the_definitions_are_not_kept(release):
    release.install()
    release.plane.kubectl("apply", "-n", release.namespace, "-f", str(SERVICE))
    release.upgrade("--set=crds.keep=false")

    release.uninstall()

    wait_until(lambda: release.left() == [], 60.0, "nothing is left")
    with pytest.raises(KubectlFailed, match="not found"):
        definition(release.plane, DEFINITIONS[0])


def test_definitions_that_were_applied_by_hand_can_be_handed_over(release):
    release.plane.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    with pytest.raises(ProgramFailed, match="invalid ownership metadata"):
        release.install()

    # As docs/upgrading.md says.
    release.plane.kubectl("label", "crd", *DEFINITIONS, "app.kubernetes.io/managed-by=Helm")
    release.plane.kubectl(
        "annotate", "crd", *DEFINITIONS, "meta.helm.sh/release-name=lumen",
        f"meta.helm.sh/release-namespace={release.namespace}",
    )  # fmt: skip
    release.install()

    labels = definition(release.plane, DEFINITIONS[0])["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "lumen"


def test_a_second_release_brings_a_router_for_another_namespace(release, helm, tmp_path):
    release.install()
    release.plane.create_namespace(f"{release.namespace}-2", RESTRICTED)
    second = Release(helm, release.plane, f"{release.namespace}-2", tmp_path)

    second.install(CHART, "--set=crds.install=false,operator.enabled=false,userRoles.create=false")

    pods = release.plane.pods(second.namespace, "app.kubernetes.io/component=router")
    assert len(pods) == 2
    release.plane.kubectl("delete", "namespace", second.namespace, "--wait=false")


def test_a_second_release_that_brings_the_definitions_too_is_refused(release, helm, tmp_path):
    release.install()
    release.plane.create_namespace(f"{release.namespace}-2", RESTRICTED)
    second = Release(helm, release.plane, f"{release.namespace}-2", tmp_path)

    with pytest.raises(ProgramFailed, match=r"lumenmodelservices\.lumen\.dev"):
        second.install()

    release.plane.kubectl("delete", "namespace", second.namespace, "--wait=false")
