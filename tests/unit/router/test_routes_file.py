"""The routes file is watched, and whatever happens to it the last good routes stay."""

import asyncio
import os
from pathlib import Path, PosixPath
from typing import Self

import orjson
import pytest
import structlog

from lumen_router.errors import RoutesUnreadable
from lumen_router.routes.from_file import RoutesFile, parse_routes

BOUND_S = 60


def a_document(*names: str) -> bytes:
    services = [
        {
            "apiVersion": "lumen.dev/v1alpha1",
            "kind": "LumenModelService",
            "metadata": {"name": name},
            "spec": {"family": "clip", "model": {"name": "m", "runtime": "onnx"}, "pool": "cpu"},
        }
        for name in names
    ]
    return orjson.dumps({"services": services, "endpoints": {}})


def replace(path: Path, content: bytes) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    aside.replace(path)


class CountedPath(PosixPath):
    """A path that counts how often it was looked at."""

    looks = 0

    def stat(self, **options):
        type(self).looks += 1
        return super().stat(**options)


class Watched:
    """The routes that were seen so far, collected by a task."""

    def __init__(self, path: Path) -> None:
        self.seen: list[tuple[str, ...]] = []
        self._file = RoutesFile(CountedPath(path), poll_s=0.005)
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _collect(self) -> None:
        async for routes in self._file.watch():
            self.seen.append(tuple(service.name for service in routes.services))
            self._news.set()

    async def until(self, *names: str) -> None:
        async with asyncio.timeout(BOUND_S):
            while not self.seen or self.seen[-1] != names:
                self._news.clear()
                await self._news.wait()

    async def looked_again(self, times: int = 5) -> None:
        """Return after the file was looked at that often."""
        until = CountedPath.looks + times
        async with asyncio.timeout(BOUND_S):
            while CountedPath.looks < until:  # noqa: ASYNC110 - the watcher sets no event
                await asyncio.sleep(0)


async def test_a_replaced_file_is_noticed(tmp_path):
    path = tmp_path / "routes.json"
    replace(path, a_document("clip"))

    async with Watched(path) as watched:
        await watched.until("clip")
        replace(path, a_document("clip", "fast"))
        await watched.until("clip", "fast")

    assert watched.seen == [("clip",), ("clip", "fast")]


async def test_the_file_may_come_later(tmp_path):
    path = tmp_path / "routes.json"

    async with Watched(path) as watched:
        await watched.looked_again()
        replace(path, a_document("clip"))
        await watched.until("clip")

    assert watched.seen == [("clip",)]


@pytest.mark.parametrize(
    "trouble",
    [b"", b"{", a_document("clip")[:-9], b"[]", b'{"services": [{"kind": "Pod"}]}', b"\xff\x00"],
    ids=["empty", "begun", "half-written", "array", "foreign", "binary"],
)
async def test_a_bad_file_changes_nothing_and_is_logged_once(tmp_path, trouble):
    path = tmp_path / "routes.json"
    replace(path, a_document("clip"))

    with structlog.testing.capture_logs() as logs:
        async with Watched(path) as watched:
            await watched.until("clip")
            replace(path, trouble)
            await watched.looked_again(20)
            replace(path, a_document("fast"))
            await watched.until("fast")

    assert watched.seen == [("clip",), ("fast",)]
    events = [entry["event"] for entry in logs]
    assert events.count("routes file not usable") == 1


@pytest.mark.parametrize("meddle", [Path.unlink, lambda path: os.utime(path, (1, 1))])
async def test_a_missing_or_touched_file_changes_nothing(tmp_path, meddle):
    path = tmp_path / "routes.json"
    replace(path, a_document("clip"))

    async with Watched(path) as watched:
        await watched.until("clip")
        meddle(path)
        await watched.looked_again()
        replace(path, a_document("fast"))
        await watched.until("fast")

    assert watched.seen == [("clip",), ("fast",)]


async def test_a_file_in_a_folders_place_is_survived(tmp_path):
    path = tmp_path / "routes.json"
    path.mkdir()

    async with Watched(path) as watched:
        await watched.looked_again()
        path.rmdir()
        replace(path, a_document("clip"))
        await watched.until("clip")


def test_nonsense_is_refused_with_the_place():
    with pytest.raises(RoutesUnreadable, match=r"services\.0"):
        parse_routes(b'{"services": [{"kind": "Pod"}]}')
