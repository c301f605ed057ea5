"""A double of ModelScope's API: its list of files, its downloads, its redirects, its odd answers.

The shapes are those that its own client reads; there is no such client here to prove it with.
`pyproject.toml` makes this module importable as `modelscope_server`.
"""

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

from fault_server import FaultServer
from hub_server import LARGE, files
from loopback_server import LoopbackServer


class ModelScopeServer(LoopbackServer):
    """Serves `owner/name` on loopback: folders by commit, commits by branch or tag.

    `kind` is models or datasets, which are listed otherwise. `says_commit` False leaves out which
    commit a list is of, `committer` says something else of it;
    `digests` replaces a file's digest.
    """

    # Another name than the content network's: cookies know hosts, not ports.
    host = "localhost"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.content = FaultServer(folder)
        self.commits: dict[str, Path] = {}
        self.names: dict[str, str] = {}
        self.token = ""
        self.kind = "models"
        self.says_commit = True
        self.committer: dict[str, Any] = {}
        self.digests: dict[str, str] = {}
        self.requests: list[str] = []
        self._folder = folder
        super().__init__(_Handler)

    def publish(self, folder: Path, *branches: str) -> str:
        """Make a folder the newest commit of me/tiny-clip; return the commit."""
        content = b"".join(path.read_bytes() for path in files(folder))
        commit = hashlib.sha1(content).hexdigest()
        self.commits[commit] = folder
        link = self._folder / commit
        if not link.is_symlink():
            link.symlink_to(folder, target_is_directory=True)
        for branch in ("master", *branches):
            self.names[branch] = commit
        return commit

    def __enter__(self) -> Self:
        self.content.__enter__()
        return super().__enter__()

    def close(self) -> None:
        self.content.close()
        super().close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        hub = self.server.world
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        hub.requests.append(parts.path)
        if hub.token and f"m_session_id={hub.token}" not in self.headers.get("Cookie", ""):
            self._json(401, {"Code": 10010101001, "Message": "no permission", "Success": False})
        elif hub.kind == "models" and parts.path == "/api/v1/models/me/tiny-clip/repo/files":
            self._json(200, self._listing(query["Revision"]))
        elif parts.path == f"/api/v1/{hub.kind}/me/tiny-clip/repo":
            self._file(query["Revision"], query["FilePath"])
        elif hub.kind == "datasets" and parts.path == "/api/v1/datasets/me/tiny-clip":
            self._json(200, {"Code": 200, "Data": {"Id": 4711, "Type": 4}, "Success": True})
        elif hub.kind == "datasets" and parts.path == "/api/v1/datasets/4711/repo/tree":
            self._json(200, self._page(query))
        else:
            self._json(404, {"Code": 10010205001, "Message": "not found", "Success": False})

    def _listing(self, revision: str) -> dict[str, Any]:
        hub = self.server.world
        commit = hub.names.get(revision, revision)
        data: dict[str, Any] = {"Files": None, "IsVisual": 0, "LatestCommitter": None}
        if commit in hub.commits:
            folder = hub.commits[commit]
            listed = [{"Path": "onnx", "Name": "onnx", "Type": "tree", "Size": 0, "Sha256": ""}]
            listed += [self._entry(folder, path, commit) for path in files(folder)]
            latest = {"Id": "", "ShortId": commit[:8]} if hub.says_commit else {"Name": "me"}
            data |= {"Files": listed, "LatestCommitter": self.server.world.committer or latest}
        return {"Code": 200, "Data": data, "Message": "success", "Success": True}

    def _page(self, query: dict[str, str]) -> dict[str, Any]:
        """A data set is listed in pages, and says nothing of its commit."""
        listing = self._listing(query["Revision"])
        size, number = int(query["PageSize"]), int(query["PageNumber"])
        listed = listing["Data"]["Files"] or []
        listing["Data"] = {"Files": listed[(number - 1) * size : number * size]}
        return listing

    def _entry(self, folder: Path, place: Path, commit: str) -> dict[str, Any]:
        content, path = place.read_bytes(), place.relative_to(folder).as_posix()
        digest = hashlib.sha256(content).hexdigest()
        return {
            "Path": path,
            "Name": place.name,
            "Type": "blob",
            "Size": len(content),
            "Sha256": self.server.world.digests.get(path, digest),
            "IsLFS": place.suffix in LARGE,
            # The commit that last changed the file; here one did, for some of them.
            "Revision": commit if path == "model_info.json" else "0" * 40,
        }

    def _file(self, revision: str, path: str) -> None:
        hub = self.server.world
        commit = hub.names.get(revision, revision)
        place = hub.commits[commit] / path
        if place.suffix in LARGE:
            address = f"{hub.content.url}/{commit}/{quote(path)}?auth_key=not-to-be-shown"
            self._send(302, b"", {"Location": address})
        else:
            self._send(200, place.read_bytes(), {})

    def _json(self, status, document):
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status, body, headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""
