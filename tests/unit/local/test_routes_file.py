"""What the router is told, and when."""

import pytest

from lumen_local.routes_file import RoutesFileWriter
from lumen_local.show import events
from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import Attestation, Failure, Verified
from lumen_manifest.reading.parse import parse_text
from lumen_manifest.routes_document import RouteEndpoint, RoutesDocument

MANIFEST = """
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {name: clip}
spec: {family: clip, model: {name: m, runtime: onnx}, pool: cpu}
---
apiVersion: lumen.dev/v1alpha1
kind: LumenModelService
metadata: {name: board}
spec: {family: bioclip, model: {name: m, runtime: rknn, precision: fp16}, external: "board:50051"}
"""


class Written:
    """A routes file, and what it says now."""

    def __init__(self, tmp_path):
        self.path = tmp_path / "routes.json"
        self.file = RoutesFileWriter(self.path, parse_text(MANIFEST))

    def turn(self, replica: int = 0, service: str = "clip", **now: bool) -> None:
        endpoint = RouteEndpoint(address=f"127.0.0.1:400{replica + 1}", **now)
        self.file.observe(events.EndpointChanged(service, replica, endpoint))

    @property
    def document(self) -> RoutesDocument:
        return RoutesDocument.from_json(self.path.read_bytes())

    @property
    def endpoints(self) -> list[tuple[str, bool, bool]]:
        return [(e.address, e.ready, e.terminating) for e in self.document.endpoints["clip"]]

    @property
    def status(self):
        status = self.document.services[0].status
        assert status is not None
        return status


@pytest.fixture
def written(tmp_path) -> Written:
    return Written(tmp_path)


def test_before_anything_runs_the_services_are_there_without_endpoints(written):

    assert [service.name for service in written.document.services] == ["clip", "board"]
    assert written.document.endpoints == {"clip": ()}
    assert written.status.routes[0].service == "clip"
    assert written.document.services[1].status is None


def test_a_servers_life_is_followed_step_by_step(written):
    seen = []
    for now in ({}, {"ready": True}, {"terminating": True}):
        written.turn(**now)
        seen.append(written.endpoints)
    written.file.observe(events.EndpointChanged("clip", 0, None))
    seen.append(written.endpoints)

    assert seen == [
        [("127.0.0.1:4001", False, False)],
        [("127.0.0.1:4001", True, False)],
        [("127.0.0.1:4001", False, True)],
        [],
    ]


def test_replicas_are_listed_in_order(written):
    written.turn(1, ready=True)
    written.turn(0)

    assert [address for address, *_ in written.endpoints] == ["127.0.0.1:4001", "127.0.0.1:4002"]
    assert written.status.ready_replicas == 1


def test_what_the_processes_say_becomes_status(written):
    written.file.observe(
        events.FilesVerified("clip", Verified("c0ffee", "d", "space-1", 9, 4), 0.1)
    )
    before = written.status.embedding_space
    said = Attestation("onnxruntime", "1", "cpu", "fp32", 1.0, "m-1", 32, "space-1", ("embed",))
    written.turn(ready=True)
    written.file.observe(events.Ready("clip", 0, 0.5, "127.0.0.1:4001", said))

    assert before == "space-1"
    assert written.status.tasks == ("embed",)
    assert written.status.model_id == "m-1"
    assert written.status.files.revision == "c0ffee"
    assert written.status.routes[0].embedding_space == "space-1"
    assert written.status.reason == ""


def test_callers_are_told_why_a_service_does_not_answer(written):
    written.file.observe(events.Working("clip", events.ServicePhase.FETCHING))
    fetching = written.status.reason
    failure = Failure(Reason.CHECKSUM_MISMATCH, "Bad file.", "Fetch it anew.")
    written.file.observe(events.Failed("clip", "resources", 0, failure, None))

    assert fetching == "Fetching"
    assert written.status.reason == "ChecksumMismatch"
    assert written.status.conditions[0].message == "Bad file. Fetch it anew."


def test_the_router_itself_is_nobodys_endpoint(written):
    written.turn(service="router")

    assert "router" not in written.document.endpoints


def test_the_file_is_replaced_whole(written):
    with written.path.open("rb") as held:
        written.turn()
        old = RoutesDocument.from_json(held.read())

    assert old.endpoints["clip"] == ()
    assert len(written.endpoints) == 1
    assert [path.name for path in written.path.parent.iterdir()] == ["routes.json"]
