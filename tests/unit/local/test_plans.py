"""Where a server that is run on one machine listens."""

import socket
from pathlib import Path

import pytest

from lumen_local.pod.machine import FreePorts
from lumen_local.pod.plans import Planned, RouterPlan, RunContext, service_plan
from lumen_local.state_dir import RunFolders
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import METRICS_PORT
from lumen_manifest.node_pool import default_pool
from lumen_manifest.spec.enums import Accelerator

SPEC = {"family": "clip", "model": {"name": "tiny", "runtime": "onnx"}, "pool": "cpu"}
CLIP = LumenModelService.model_validate({"metadata": {"name": "clip"}, "spec": SPEC})


def server_behind(door: RouterPlan | None, ports: FreePorts):
    here = Path("/nowhere")
    ground = RunContext(RunFolders("run-1", here, here, here), ports, None, {})
    planned = Planned(CLIP, default_pool(Accelerator.CPU), here)
    return service_plan(planned, ground, door).pod(0).server


@pytest.fixture
def ports() -> FreePorts:
    return FreePorts("127.0.0.1")


def test_a_server_that_is_the_door_shows_its_status_where_an_operator_asks_for_it(ports):
    door = ports.take()
    server = server_behind(RouterPlan("127.0.0.1", door.grpc, door.metrics), ports)

    assert server.ports.grpc == door.grpc
    assert server.env["LUMEN_METRICS_PORT"] == str(door.metrics)
    assert RouterPlan("0.0.0.0", 50051).status_port == METRICS_PORT


def test_where_another_program_is_its_status_goes_elsewhere(ports):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]

        server = server_behind(RouterPlan("127.0.0.1", ports.take().grpc, taken), ports)

        assert server.ports.metrics not in {taken, server.ports.grpc}


def test_a_door_on_the_port_of_status_pages_keeps_it_for_callers(ports):
    port = ports.take().grpc
    server = server_behind(RouterPlan("127.0.0.1", port, port), ports)

    assert server.ports.grpc == port
    assert server.ports.metrics != port


def test_behind_a_router_every_port_is_just_any(ports):
    server = server_behind(None, ports)

    assert METRICS_PORT not in {server.ports.grpc, server.ports.health, server.ports.metrics}
