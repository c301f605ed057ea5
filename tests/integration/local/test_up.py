"""`lumen up` with real models, a real router and real calls."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny_models
from local_runs import ENVIRONMENT, tiny_service
from ports import loopback_addresses

from lumen_client import Client
from lumen_local.pod.machine import FreePorts


def state(tmp_path: Path) -> tuple[str, str]:
    return "--state-dir", str(tmp_path / "state")


@pytest.fixture
def picture() -> bytes:
    return tiny_models.a_jpeg(3)


def test_two_models_and_a_router_answer_and_drain_at_ctrl_c(lumen, manifest, tmp_path, picture):
    run = lumen("up", "-f", manifest("clip", "bioclip"), "--port", "0", *state(tmp_path))
    address = run.until_up()
    with Client(f"grpc://{address}") as client:
        vectors = client.encode(["a photo of a cat", "a photo of a dog"])
        labels = client.classify(picture)
        species = client.classify(picture, service="bioclip")
        smart = client.smart_classify(picture)
        services = {record.service for record in client.capabilities()}
    told = [event for event in run.events if event.get("service") == "clip"]
    verified, ready = (
        next(each for each in told if each["event"] == kind) for kind in ("verified", "ready")
    )
    family = run.family()
    run.process.send_signal(signal.SIGINT)
    code = run.ended()

    assert code == 0
    assert (run.events[0]["event"], run.events[0]["address"]) == ("starting", address)
    assert min(verified["files"], verified["file_bytes"]) > 0
    assert (ready["device"], ready["precision"]) == ("cpu", "fp32")
    assert ready["parity"] > 0.999
    assert ready["embedding_space"] == verified["embedding_space"]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert labels.labels[0].label in tiny_models.CLASSES
    assert len(species.labels[0].lineage) == 7
    assert smart.source
    assert {"clip", "bioclip", "smart"} <= services
    assert [
        event["event"] for event in run.events if event["event"] in {"stopping", "stopped"}
    ] == [*("stopping", "stopped")]
    assert not [child for child in family if child.is_running()]


def test_the_door_may_be_an_ipv6_address(lumen, manifest, tmp_path):
    bind = loopback_addresses()[-1]
    run = lumen("up", "-f", manifest("clip"), "--bind", bind, "--port", "0", *state(tmp_path))
    with Client(f"grpc://{run.until_up()}") as client:
        vectors = client.encode(["a photo of a cat"])
    run.process.send_signal(signal.SIGINT)

    assert vectors.shape[0] == 1
    assert run.ended() == 0


def test_a_killed_model_server_is_started_again_and_calls_wait_for_it(lumen, manifest, tmp_path):
    run = lumen("up", "-f", manifest("clip"), "--port", "0", *state(tmp_path))
    with Client(f"grpc://{run.until_up()}", timeout_s=60) as client:
        before = client.encode(["a cat"])
        run.server("clip").send_signal(signal.SIGKILL)
        run.until("failed", service="clip", reason="ServerCrashed")
        after = client.encode(["a cat"])
    run.until("ready", service="clip")

    assert np.array_equal(before, after)


def test_kill_9_of_lumen_up_leaves_no_process(lumen, manifest, tmp_path):
    run = lumen("up", "-f", manifest("clip"), "--port", "0", *state(tmp_path))
    run.until_up()
    family = run.family()
    run.process.kill()
    run.process.wait()
    _, left = psutil.wait_procs(family, timeout=40)

    assert len(family) == 3  # the server, the router, the reaper
    assert left == []


def test_a_second_ctrl_c_ends_at_once(lumen, manifest, tmp_path):
    run = lumen("up", "-f", manifest("clip"), "--port", "0", *state(tmp_path))
    run.until_up()
    family = run.family()
    run.server("clip").suspend()  # it will not drain
    run.process.send_signal(signal.SIGINT)
    run.until("stopping")
    run.process.send_signal(signal.SIGINT)
    code = run.ended()
    _, left = psutil.wait_procs(family, timeout=40)

    assert code == 130
    assert left == []


def test_a_reader_that_goes_away_ends_the_run_in_good_order(lumen, manifest, tmp_path):
    run = lumen("up", "-f", manifest("clip"), "--port", "0", *state(tmp_path))
    run.until_up()
    family = run.family()
    run.process.stdout.close()
    run.server("clip").send_signal(signal.SIGKILL)  # something to tell
    run.process.wait(timeout=60)
    _, left = psutil.wait_procs(family, timeout=40)

    assert run.process.returncode == 1  # as of any command whose output is lost
    assert left == []


CLIP = tiny_service("clip", Path("/nowhere"))
A_POOL = (
    "{apiVersion: lumen.dev/v1alpha1, kind: LumenNodePool, metadata: {name: x},"
    " spec: {accelerator: cpu}}"
)


@pytest.mark.parametrize(
    ("command", "text", "says"),
    [
        (
            ("up", "-f"),
            CLIP.replace("runtime: onnx", "runtime: onxx"),
            r"given\.yaml:9:14  spec\.model\.runtime.*Did you mean onnx\?",
        ),
        (
            ("up", "-f"),
            CLIP.replace("pool: cpu", "pool: attic"),
            "UnknownPool: clip asks for pool attic",
        ),
        (("up", "-f"), A_POOL, "no LumenModelService"),
        (
            ("serve", "--config"),
            "services: {clip: {}, bioclip: {}}",
            "Multiple services enabled",
        ),
    ],
)
def test_a_file_that_cannot_be_followed_is_refused_before_the_start(
    lumen, tmp_path, command, text, says
):
    (tmp_path / "given.yaml").write_text(text)
    run = lumen(*command, "given.yaml", *state(tmp_path))

    assert run.ended() == 2
    assert re.search(says, run.said)
    (only,) = run.events
    assert only["error"]["exitCode"] == 2


def test_a_damaged_file_is_named_with_what_to_do(lumen, manifest, tmp_path, tiny_cache):
    sources = tmp_path / "damaged"
    shutil.copytree(tiny_cache, sources)
    vision = next((sources / "models" / "tiny-clip").rglob("vision.fp32.onnx"))
    content = bytearray(vision.read_bytes())
    content[len(content) // 2] ^= 0xFF
    vision.write_bytes(content)
    run = lumen("up", "-f", manifest("clip", sources=sources), "--port", "0", *state(tmp_path))
    failed = run.until("failed")

    assert run.ended() == 1
    assert failed["reason"] == "ChecksumMismatch"
    assert failed["final"] is True
    assert "vision.fp32.onnx" in failed["message"] + failed["file"]
    assert failed["remedy"]


def test_one_damaged_model_does_not_keep_the_other_from_serving(
    lumen, manifest, tmp_path, tiny_cache
):
    sources = tmp_path / "damaged"
    shutil.copytree(tiny_cache, sources)
    (sources / "models" / "tiny-bioclip" / "model_info.json").write_text("{}")
    run = lumen(
        "up", "-f", manifest("clip", "bioclip", sources=sources), "--port", "0", *state(tmp_path)
    )
    with Client(f"grpc://{run.until_up()}") as client:
        vectors = client.encode(["a cat"])

    assert run.events[-1]["failed"] == ["bioclip"]
    assert vectors.shape[0] == 1


def test_a_manifest_may_come_from_stdin_with_sources_beside_the_caller(
    lumen, manifest, tmp_path, tiny_cache
):
    shutil.copytree(tiny_cache, tmp_path / "here")
    text = Path(manifest("clip", sources=Path("./here"))).read_text()
    run = lumen("up", "-f", "-", "--port", "0", *state(tmp_path), stdin=text)

    assert run.until_up()


CONFIG = """
metadata: {{version: "1.0", region: other, cache_dir: {cache}}}
services:
  {name}:
    enabled: true
    models:
{models}
    server: {{port: {port}, mdns: {{enabled: false}}}}
"""


def a_config(tmp_path, cache, name: str, *models: str) -> Path:
    port = FreePorts("127.0.0.1").take().grpc
    entries = "\n".join(f"      {m}: {{model: tiny-{m}, runtime: onnx}}" for m in models)
    path = tmp_path / "server.yaml"
    path.write_text(CONFIG.format(cache=cache, name=name, models=entries, port=port))
    return path


def test_an_older_configuration_of_one_model_listens_itself(lumen, tmp_path, tiny_cache):
    path = a_config(tmp_path, tiny_cache, "clip", "clip")
    run = lumen("serve", "--config", str(path), "--bind", "127.0.0.1", *state(tmp_path))
    with Client(f"grpc://{run.until_up()}") as client:
        (record,) = client.capabilities()
        vectors = client.encode(["a cat"])
    commands = [child.cmdline()[1:] for child in run.family()]
    run.process.send_signal(signal.SIGTERM)

    assert run.ended() == 0
    assert record.model_ids == ("tiny-clip",)
    assert vectors.shape[0] == 1
    assert ["-m", "lumen_router"] not in commands


def test_an_older_folder_without_digests_serves_once_the_command_that_is_named_was_run(
    lumen, tmp_path
):
    root = tiny_models.write_model(tmp_path / "older cache")
    info = json.loads((root / "model_info.json").read_text())
    del info["extra_metadata"]["lumen"]["files"]
    (root / "model_info.json").write_text(json.dumps(info))
    path = a_config(tmp_path, tmp_path / "older cache", "clip", "clip")
    serve = ("serve", "--config", str(path), "--bind", "127.0.0.1", *state(tmp_path))

    refused = lumen(*serve)
    failed = refused.until("failed")
    assert refused.ended() == 1
    (command,) = re.findall(r"`lumen ([^`]+)`", failed["remedy"])
    assert command == f"resources verify --write {shlex.quote(str(root))}"
    subprocess.run(
        [sys.executable, "-m", "lumen_cli", *shlex.split(command)], check=True, cwd=tmp_path
    )

    with Client(f"grpc://{lumen(*serve).until_up()}") as client:
        assert client.encode(["a cat"]).shape[0] == 1


def test_the_unified_form_becomes_two_servers_and_a_router(lumen, tmp_path, tiny_cache):
    path = a_config(tmp_path, tiny_cache, "clip-unified", "clip", "bioclip")
    port = FreePorts("127.0.0.1").take().grpc
    run = lumen(
        *("serve", "--config", str(path), "--port", str(port), "--bind", "127.0.0.1"),
        *state(tmp_path),
    )
    address = run.until_up()
    with Client(f"grpc://{address}") as client:
        services = {record.service for record in client.capabilities()}

    assert address == f"127.0.0.1:{port}"
    assert {"clip", "bioclip"} <= services


def test_a_model_of_this_machine_serves_without_asking_anybody_else(
    lumen, manifest, tmp_path, picture, monkeypatch
):
    with socket.create_server(("127.0.0.1", 0)) as swallower:
        url = f"http://127.0.0.1:{swallower.getsockname()[1]}"
        for variable in ("grpc_proxy", "https_proxy", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setitem(ENVIRONMENT, variable, url)
        monkeypatch.setenv("grpc_proxy", url)
        run = lumen("up", "-f", manifest("clip"), "--port", "0", *state(tmp_path))
        with Client(f"grpc://{run.until_up()}") as client:
            answer = client.classify(picture)
        swallower.setblocking(False)
        asked_for = []
        with suppress(BlockingIOError):
            while True:
                asked_for.append(swallower.accept()[0].recv(1000))

    assert answer.labels
    assert asked_for == []  # nor by a library that reports to its maker
