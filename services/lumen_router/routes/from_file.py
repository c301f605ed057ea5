"""Routes from a file that another process replaces, and the interface all sources share.

`lumen up` writes the file. Whatever happens to it (missing, half-written, nonsense), the last good
routes stay in use; a trouble is logged once, and so is its end.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from lumen_manifest.reading.regular_files import read_bounded
from lumen_manifest.routes_document import RoutesDocument
from lumen_manifest.server_config import ConfigError
from lumen_router.errors import RoutesUnreadable
from lumen_router.routes import table
from lumen_router.routes.documents import read_service
from lumen_router.routes.table import Endpoint, Routes

POLL_S = 0.1
FILE_BYTES_MAX = 64 * 1024 * 1024

log = structlog.get_logger(__name__)


class RoutesSource(Protocol):
    """Where routes come from: a file here, the cluster's watches in `from_cluster`."""

    def watch(self) -> AsyncIterator[Routes]:
        """Yield the routes as soon as they are known, then again whenever they change."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What tells one state of the file from another: a replaced file has another inode."""

    inode: int
    modified_ns: int
    size: int


@dataclass(slots=True)
class RoutesFile:
    """Watches one file by its status, ten times a second: a microsecond each time."""

    path: Path
    poll_s: float = POLL_S

    async def watch(self) -> AsyncIterator[Routes]:
        """Yield the routes of each good state of the file, the first at once."""
        seen: _Seen | None = None
        good: bytes | None = None
        trouble = ""
        while True:
            now, text, trouble_now = self._read_if_changed(seen)
            if text is not None and text != good:
                try:
                    routes = parse_routes(text)
                except RoutesUnreadable as error:
                    trouble_now = str(error)
                else:
                    good = text
                    yield routes
            # A file in trouble is read again each time, whatever its status says.
            seen = None if trouble_now else now
            trouble = self._report(trouble, trouble_now, have_routes=good is not None)
            await asyncio.sleep(self.poll_s)

    def _read_if_changed(self, seen: _Seen | None) -> tuple[_Seen | None, bytes | None, str]:
        try:
            status = self.path.stat()
            now = _Seen(status.st_ino, status.st_mtime_ns, status.st_size)
            if now == seen:
                return now, None, ""
            if status.st_size > FILE_BYTES_MAX:
                return now, None, f"{status.st_size} bytes, more than {FILE_BYTES_MAX}"
            return now, read_bounded(self.path, FILE_BYTES_MAX), ""
        except OSError as error:
            return None, None, error.strerror or type(error).__name__

    def _report(self, before: str, now: str, *, have_routes: bool) -> str:
        if now and now != before:
            log.warning(
                "routes file not usable",
                path=str(self.path),
                trouble=now,
                kept="the last good routes" if have_routes else "none yet",
            )
        elif before and not now:
            log.info("routes file usable again", path=str(self.path))
        return now


def parse_routes(text: bytes) -> Routes:
    """Read a routes file's content; raises RoutesUnreadable."""
    try:
        document = RoutesDocument.from_json(text)
    except ConfigError as error:
        raise RoutesUnreadable(str(error)) from error
    endpoints = {
        name: tuple(Endpoint(e.address, e.ready, e.terminating) for e in listed)
        for name, listed in document.endpoints.items()
    }
    return table.build(
        [
            read_service(service, position, endpoints)
            for position, service in enumerate(document.services)
        ]
    )
