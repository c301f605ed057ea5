"""The status pages of simulated pods and outside servers, behind the socket an operator asks at."""

import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self


class StatusPages(socketserver.ThreadingUnixStreamServer):
    """Answers at a Unix socket with what `page` has for a host; without a page it is a 404."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, page: Callable[[str], Any]) -> None:
        self.page = page
        super().__init__(str(path), _Page)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Page(BaseHTTPRequestHandler):
    server: StatusPages

    def do_GET(self):
        page = self.server.page(self.headers["Host"].rpartition(":")[0])
        body = json.dumps(page).encode()
        self.send_response(404 if page is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""
