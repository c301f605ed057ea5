"""The init container as a process: killed, stopped, starved of space, shut out, in company."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import BLOCK, FaultServer
from init_containers import InitContainer, until
from model_sources import TEXT, a_config, edited_info
from tiny_models import TinyModel, write_model

# Wide enough that a download spans many blocks.
BIG = TinyModel(dim=4096)


@pytest.fixture
def folder():
    """A folder that other users may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="lumen-resources-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def source(folder):
    write_model(folder / "source", BIG)
    with FaultServer(folder / "source" / "models" / "tiny-clip") as server:
        yield server


def grown(container: InitContainer, to: int) -> bool:
    """Whether the text graph's part has come that far, and no other file is on its way."""
    parts = container.parts()
    return [part.stem for part in parts] == [Path(TEXT).name] and parts[0].stat().st_size >= to


def test_a_killed_download_goes_on_where_it_was(source, folder):
    size = (source.root / TEXT).stat().st_size
    held = 5 * BLOCK
    source.hold_after[TEXT] = held
    container = InitContainer(folder, source.url)
    process = container.start()
    assert source.held.wait(30)
    until(lambda: grown(container, held - BLOCK))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    source.release.set()
    served = source.sent[TEXT]

    code, _ = container.run()

    assert code == 0
    resumed = [ranges for path, ranges in source.requests if path == TEXT and ranges]
    assert len(resumed) == 1
    # What was in the killed process's buffers is sent again, the rest is not.
    again = source.sent[TEXT] - served
    assert size - held <= again <= size - held + 2 * BLOCK


def test_sigterm_stops_at_once_keeps_the_part_and_says_so(source, folder):
    source.hold_after[TEXT] = 5 * BLOCK
    container = InitContainer(folder, source.url)
    process = container.start()
    assert source.held.wait(30)
    until(lambda: grown(container, 4 * BLOCK))

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)

    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM" in container.termination()["message"]
    assert container.parts()
    assert not list(container.cache.rglob("lease.json"))


def test_status_tells_how_far_a_download_is(source, folder):
    source.hold_after[TEXT] = 5 * BLOCK
    container = InitContainer(folder, source.url)
    process = container.start()
    assert source.held.wait(30)
    until(lambda: grown(container, 4 * BLOCK))
    status = container.status()
    source.release.set()
    process.communicate(timeout=30)

    assert status["phase"] == "Fetching"
    assert status["file"] == TEXT
    assert 0 < status["bytesDone"] < status["bytesTotal"]
    assert process.returncode == 0
    with pytest.raises(urllib.error.URLError):
        container.status()


@contextlib.contextmanager
def in_company(source: FaultServer, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start one that fetches and one that waits for it; let the source go on in the end."""
    source.hold_after[TEXT] = 5 * BLOCK
    processes = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        container = InitContainer(folder / name, source.url, cache=folder / "cache")
        processes.append(container.start())
        assert source.held.wait(30)
    until(lambda: _answers(container) and container.status()["phase"] == "Waiting")
    source.release.set()
    yield processes
    for process in processes:
        process.communicate(timeout=60)


def _answers(container: InitContainer) -> bool:
    try:
        container.status()
    except OSError:
        return False
    return True


def test_two_processes_that_share_a_cache_fetch_every_file_once(source, folder):
    with in_company(source, folder) as processes:
        pass

    assert [process.returncode for process in processes] == [0, 0]
    first, second = (folder / name / "termination.log" for name in ("first", "second"))
    line = json.loads(first.read_bytes())
    assert line == json.loads(second.read_bytes())
    assert set(line) == {"reason", "revision", "digest", "embeddingSpace", "bytes", "files"}
    assert source.sent[TEXT] == (source.root / TEXT).stat().st_size


def test_the_second_takes_over_when_the_first_is_killed(source, folder):
    with in_company(source, folder) as (first, second):
        first.send_signal(signal.SIGKILL)

    assert second.returncode == 0


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(source, folder):
    size = (source.root / TEXT).stat().st_size
    container = InitContainer(folder, source.url)
    container.cache.mkdir()
    with small_disk(container.cache) as smallest_model_that_fails:
        claim(source, smallest_model_that_fails)

        code, line = container.run()

        assert code == 1
        assert line["reason"] == "DiskFull"
        assert "bytes free" in line["message"]
        assert source.sent[TEXT] == 0
    claim(source, size)
    code, _ = container.run()
    assert code == 0


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[int]:
    """Mount one mebibyte at a folder where we may; yield a size that the disk there cannot hold."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        yield shutil.disk_usage(folder).total + 1
        return
    try:
        yield 2 * 1024 * 1024
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def claim(source: FaultServer, size: int) -> None:
    """Let the model info say that the text graph has `size` bytes."""
    with edited_info(source.root) as info:
        info["extra_metadata"]["lumen"]["files"][TEXT]["size"] = size


def test_space_that_runs_out_on_the_way_is_named_and_what_was_fetched_is_kept(source, folder):
    """A limit on file sizes stands for a quota: the write fails, as on a full disk."""
    limit = 300_000
    container = InitContainer(folder, source.url)

    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"

    code, line = container.run(command=having_done(limited))

    assert code == 1
    assert line["reason"] == "DiskFull"
    kept = max(part.stat().st_size for part in container.parts())
    assert kept >= limit - BLOCK
    source.requests.clear()
    code, _ = container.run()
    assert code == 0
    assert f"bytes={kept}-" in [ranges for _, ranges in source.requests]


def test_a_cache_that_may_not_be_written_is_permission_denied(source, folder):
    cache = folder / "cache"
    cache.mkdir(mode=0o555)
    container = InitContainer(folder, source.url)

    code, line = container.run(**as_someone_else())

    assert code == 1
    assert line["reason"] == "PermissionDenied"
    assert str(cache) in line["message"]
    assert source.sent[TEXT] == 0
    cache.chmod(0o755)
    code, _ = container.run(**as_someone_else())
    assert code == 0


def test_a_source_folder_that_may_not_be_read_is_permission_denied(folder):
    root = write_model(folder / "source", BIG)
    (root / TEXT).chmod(0o000)
    container = InitContainer(folder, "file://./source/models/tiny-clip")

    code, line = container.run(**as_someone_else())

    assert code == 1
    assert line["reason"] == "PermissionDenied"
    assert TEXT in line["file"]
    (root / TEXT).chmod(0o444)
    code, _ = container.run(**as_someone_else())
    assert code == 0


def having_done(code: str) -> tuple[str, ...]:
    """Become the container after some lines of Python.

    `preexec_fn` would run them between fork and exec, where a lock that another test's threads
    hold is never given back.
    """
    become = "os.execv(sys.executable, [sys.executable, '-m', 'lumen_resources'])"
    return ("-c", f"import os, sys\n{code}\n{become}")


def as_someone_else() -> dict[str, object]:
    """Root may write anywhere: the process gives that up before it becomes the container."""
    return {"command": having_done(RESPECT_MODES)} if os.geteuid() == 0 else {}


RESPECT_MODES = """
import ctypes

drop_from_bounding_set, override, read_search = 24, 1, 2
for capability in (override, read_search):
    assert ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) == 0
"""


def test_a_configuration_that_cannot_be_read_is_said_in_the_termination_message(folder):
    container = InitContainer(folder, "file:///nowhere")
    (folder / "server.json").write_text("{")

    code, line = container.run()

    assert code == 1
    assert line["reason"] == "InvalidSpec"
    assert "server.json" in line["message"]


@pytest.mark.parametrize("name", ["LUMEN_METRICS_PORT", "LUMEN_LOG_LEVEL"])
def test_a_variable_that_cannot_be_used_is_said_in_the_termination_message(
    folder, monkeypatch, name
):
    monkeypatch.setenv(name, "loud")
    container = InitContainer(folder, "file://./source/models/tiny-clip")
    if name == "LUMEN_METRICS_PORT":
        container.port = "loud"

    code, said = container.run()

    assert (code, said["reason"]) == (1, "InvalidSpec")
    assert "'loud'" in said["message"]


def test_verifying_a_large_file_needs_little_memory(folder):
    root = write_model(folder / "source")
    big = root / "torch" / "model.pt"
    big.parent.mkdir()
    with big.open("wb") as file:
        file.write(b"PK")
        file.truncate(600 * 1024 * 1024)
    with edited_info(root) as info:
        info["runtimes"]["torch"] = {"available": True, "files": ["torch/model.pt"]}
    subprocess.run(
        [sys.executable, "-m", "lumen_cli", "resources", "verify", "--write", str(root)],
        check=True,
        capture_output=True,
    )
    container = InitContainer(folder, "file://./source/models/tiny-clip")
    config = a_config("file://./source/models/tiny-clip", runtime="torch")
    (folder / "server.json").write_text(config.to_json())

    process = container.start(stdout=subprocess.PIPE, command=["-c", TELLS_ITS_PEAK])
    told, errors = process.communicate(timeout=100)

    assert process.returncode == 0, errors.decode()
    # What Python and its libraries take is about 100 MiB; the file has 600.
    assert int(told.split()[-1]) < 200 * 1024


# The kernel's own figure for a child's peak starts at its parent's.
TELLS_ITS_PEAK = """
import os, re
from lumen_resources.main import run
from lumen_resources.settings import ResourcesSettings
code = run(ResourcesSettings.from_environment(os.environ))
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
raise SystemExit(code)
"""
