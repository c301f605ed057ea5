"""A web server over a folder, with ranges and ETags, that fails in the ways real ones do.

`pyproject.toml` makes this module importable as `fault_server`.
"""

import hashlib
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from loopback_server import LoopbackServer

BLOCK = 16 * 1024


class FaultServer(LoopbackServer):
    """Serves `root` on a free loopback port; the attributes are switches, by relative path.

    `contents` replaces a file's bytes, `statuses` answers a code (a number of times, -1: always),
    `cut_after` closes the connection after so many bytes of an answer (so many times),
    `hold_after` sends so many bytes and then waits until `release` is set, `headers` come on top.
    `tokens` are the tokens and cookies that were sent here.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = ""
        self.contents: dict[str, bytes] = {}
        self.statuses: dict[str, tuple[int, int]] = {}
        self.cut_after: dict[str, tuple[int, int]] = {}
        self.hold_after: dict[str, int] = {}
        self.etags: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.ranges = True
        self.sends_etag = True
        self.release = threading.Event()
        self.held = threading.Event()
        self.sent: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.guard = threading.Lock()
        super().__init__(_Handler)

    def close(self) -> None:
        self.release.set()
        super().close()

    def once(self, switches: dict[str, tuple[int, int]], path: str) -> int | None:
        """Take one use of a counted switch."""
        with self.guard:
            value, left = switches.get(path, (0, 0))
            if left == 0:
                return None
            switches[path] = (value, left - 1)
            return value


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        faults = self.server.world
        path = unquote(urlsplit(self.path).path).lstrip("/")
        faults.tokens |= {self.headers.get(name, "") for name in ("Authorization", "Cookie")} - {""}
        asked = self.headers.get("Range", "")
        faults.requests.append((path, asked))
        if faults.token and self.headers.get("Authorization") != f"Bearer {faults.token}":
            self._refuse(401)
            return
        status = faults.once(faults.statuses, path)
        place = faults.root / path
        if status or not (path in faults.contents or place.is_file()):
            self._refuse(status or 404)
            return
        body = faults.contents.get(path) or place.read_bytes()
        self._answer(path, body, self._start(path, body, asked))

    def _start(self, path, body, asked):
        found = re.fullmatch(r"bytes=(\d+)-", asked)
        condition = self.headers.get("If-Range")
        if not (found and self.server.world.ranges) or condition not in {
            None,
            self._etag(path, body),
        }:
            return 0
        return int(found[1])

    def _etag(self, path, body):
        return self.server.world.etags.get(path) or f'"{hashlib.sha256(body).hexdigest()[:16]}"'

    def _answer(self, path, body, start):
        faults = self.server.world
        if start:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        if faults.sends_etag:
            self.send_header("ETag", self._etag(path, body))
        for name, value in faults.headers.get(path, {}).items():
            self.send_header(name, value)
        self.end_headers()
        cut = faults.once(faults.cut_after, path)
        self._send(path, body[start:], cut)

    def _send(self, path, rest, cut):
        faults = self.server.world
        hold = faults.hold_after.get(path)
        for at in range(0, len(rest), BLOCK):
            block = rest[at : at + BLOCK]
            if cut is not None and at + len(block) > cut:
                self.close_connection = True
                return
            if hold is not None and at + len(block) > hold and not faults.release.is_set():
                faults.held.set()
                faults.release.wait(60)
            self.wfile.write(block)
            with faults.guard:
                faults.sent[path] += len(block)

    def _refuse(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Quiet."""
