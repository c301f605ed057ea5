"""Which files a server opens, as the kernel sees it: those that were verified and no other."""

import ctypes
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serving_servers
import tiny_models

from lumen_resources.errors import ChecksumMismatchError
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.fetch.recording import record
from lumen_resources.fetch.verify import FileWatch
from lumen_resources.model import lock_file
from lumen_resources.progress import Progress
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.load import warm_up

IN_OPEN, IN_ISDIR = 0x20, 0x40000000
_EVENT = struct.Struct("iIII")


@contextmanager
def opened_files(root: Path) -> Iterator[set[str]]:
    """Yield a set that holds, at the end, every file below `root` that anything opened."""
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert queue >= 0
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    watched = {
        libc.inotify_add_watch(queue, os.fsencode(folder), IN_OPEN): folder for folder in folders
    }
    opened: set[str] = set()
    try:
        yield opened
        opened |= {str(path.relative_to(root)) for path in _events(queue, watched)}
    finally:
        os.close(queue)


def _events(queue: int, watched: dict[int, Path]) -> Iterator[Path]:
    while True:
        try:
            block = os.read(queue, 1 << 16)
        except BlockingIOError:
            return
        at = 0
        while at < len(block):
            watch, mask, _, length = _EVENT.unpack_from(block, at)
            at += _EVENT.size + length
            name = os.fsdecode(block[at - length : at].rstrip(b"\0"))
            if name and not mask & IN_ISDIR:
                yield watched[watch] / name


@pytest.fixture
def root(tmp_path):
    """A model with companions of every kind, and beside each a file that nobody vouches for."""
    root = tiny_models.write_model(tmp_path / "source")
    (root / "tokenizer_config.json").write_text("{}")
    (root / "special_tokens_map.json").write_text("{}")
    (root / "preprocessor_config.json").write_text("{}")
    (root / "open_clip_config.json").write_text("{}")
    record(root, Progress())
    for folder in ("", "onnx", "labels"):
        for name in ("added_tokens.json", "evil.bin", "evil.onnx.data", "other.json", "README.md"):
            (root / folder / name).write_bytes(b"not verified")
    return root


def test_a_server_opens_verified_files_and_no_other(root, tmp_path):
    config = serving_servers.a_config(root, labelSets=[{"name": "tiny-classes"}])
    model = fetch_and_verify(config, tmp_path / "cache", tmp_path, Progress())
    locked = lock_file.read(model.cache)
    settings = ServerSettings.from_environment(
        {"LUMEN_CACHE_DIR": str(tmp_path / "cache"), "LUMEN_SOURCE_DIR": str(tmp_path)}
    )

    with opened_files(root) as opened:
        warm_up(config, settings)

    assert opened == set(locked.files)


def test_a_server_whose_files_are_written_to_ends_and_says_which(tmp_path):
    folder = tiny_models.write_model(tmp_path / "source")
    with serving_servers.a_server(serving_servers.a_config(folder), tmp_path) as server:
        server.wait_for_health()
        with (folder / "onnx/vision.fp32.onnx").open("r+b") as graph:
            graph.seek(100)
            graph.write(b"another")

        assert server.process.wait(serving_servers.WAIT_S) == 1

        told = json.loads(server.termination_log.read_text())
    assert (told["reason"], told["file"]) == ("ChecksumMismatch", "vision.fp32.onnx")


def test_a_file_that_is_touched_or_replaced_by_a_new_one_leaves_what_is_served(tmp_path):
    folder = tiny_models.write_model(tmp_path / "source")
    config = serving_servers.a_config(folder)
    model = fetch_and_verify(config, tmp_path / "cache", tmp_path, Progress())
    watch, (vision, text) = FileWatch(model), (model.files.vision, model.files.text)

    vision.touch()
    watch.look()
    (tmp_path / "newer").write_bytes(b"another model's")
    (tmp_path / "newer").replace(vision)
    watch.look()
    text.unlink()
    watch.look()

    tokenizer = model.files.tokenizer
    tokenizer.write_bytes(b"x" + tokenizer.read_bytes()[1:])
    with pytest.raises(ChecksumMismatchError, match=r"tokenizer\.json"):
        watch.look()
