"""A double of Hugging Face's hub: its API, its pages of a list, its redirects to a content network.

What huggingface_hub itself reads from it is tested, so that what is proven with it is proven of the
real protocol. `pyproject.toml` makes this module importable as `hub_server`.
"""

import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from fault_server import FaultServer
from huggingface_hub import constants
from loopback_server import LoopbackServer

# What a hub's repositories keep as large files, whatever their size.
LARGE = (".onnx", ".safetensors", ".bin", ".npy", ".rknn", ".pt")
SIGNATURE = "not-to-be-shown"


def git_blob(content: bytes) -> str:
    """The name git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Published:
    """One repository: folders by commit, commits by branch or tag."""

    commits: dict[str, Path] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    moved_to: str = ""


def make_it_the_hub(server: "HubServer", home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub's own settings name this server, and nothing of whoever runs tests."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hf-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "no-token"))


class HubServer(LoopbackServer):
    """Serves repositories on loopback; `content` is the network that large files come from.

    `statuses` answers a code for an address that begins so (a number of times, -1: always), with
    `headers`; `bodies` replaces an answer; `next_host` puts another host into the links to next
    pages; `page` is how many files a page has.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.content = FaultServer(folder)
        self.repositories: dict[str, Published] = {}
        self.accounts: dict[str, str] = {}
        self.statuses: dict[str, tuple[int, int]] = {}
        self.headers: dict[str, str] = {}
        self.bodies: dict[str, bytes] = {}
        self.next_host = ""
        self.page = 3
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.sent: Counter[str] = Counter()
        self.guard = threading.Lock()
        self._folder = folder
        super().__init__(_Handler)

    def publish(self, name: str, folder: Path, *branches: str) -> str:
        """Make a folder the newest commit of `models/owner/name`; return the commit."""
        repository = self.repositories.setdefault(name, Published())
        listed = [
            (p.relative_to(folder).as_posix(), git_blob(p.read_bytes())) for p in files(folder)
        ]
        commit = hashlib.sha1(json.dumps([name, listed]).encode()).hexdigest()
        repository.commits[commit] = folder
        link = self._folder / commit
        if not link.is_symlink():
            link.symlink_to(folder, target_is_directory=True)
        for branch in ("main", *branches):
            repository.names[branch] = commit
        return commit

    def large(self, name: str, path: str) -> str:
        """The path by which the content network knows a file of the newest commit."""
        return f"{self.repositories[name].names['main']}/{path}"

    def asked(self) -> int:
        """How many requests have come, to the hub and to the content network."""
        return len(self.requests) + len(self.content.requests)

    def __enter__(self) -> Self:
        self.content.__enter__()
        return super().__enter__()

    def close(self) -> None:
        self.content.close()
        super().close()

    def status(self, path: str) -> int | None:
        """Take one use of a switch."""
        with self.guard:
            for prefix, (code, left) in self.statuses.items():
                if left and path.startswith(prefix):
                    self.statuses[prefix] = (code, left - 1)
                    return code
        return None


def files(folder: Path) -> list[Path]:
    """Every file of a folder, as a hub lists them."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **headers: str) -> None:
        super().__init__(code)
        self.status = status
        named = {"X-Error-Code": code, "X-Error-Message": message}
        self.headers = {**{k: v for k, v in named.items() if v}, **headers}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        hub = self.server.world
        path = urlsplit(self.path).path
        hub.requests.append(path)
        hub.tokens |= {self.headers.get("Authorization", "")} - {""}
        try:
            self._answer(path)
        except _Refused as refused:
            body = json.dumps({"error": refused.headers.get("X-Error-Message", "no")}).encode()
            self._send(refused.status, body, refused.headers)

    def do_HEAD(self):
        self.do_GET()

    def _answer(self, path):
        hub = self.server.world
        status = hub.status(path)
        if status:
            raise _Refused(status, **hub.headers)
        if path in hub.bodies:
            self._send(200, hub.bodies[path], dict(hub.headers))
        elif path.startswith("/api/"):
            self._api(path)
        else:
            self._resolve(path)

    def _repository(self, name, rest):
        """The repository, if whoever asks may see it."""
        hub = self.server.world
        found = hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in hub.accounts:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        if found is None or (found.private and not token):
            raise _Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if found.moved_to:
            raise _Refused(307, Location=rest.replace(name.partition("/")[2], found.moved_to, 1))
        return found

    def _commit(self, repository, revision):
        commit = repository.names.get(revision, revision)
        if commit not in repository.commits:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _api(self, path):
        _, _, kind, owner, name, what, *rest = path.split("/")
        repository = self._repository(f"{kind}/{owner}/{name}", self.path)
        commit = self._commit(repository, unquote(rest[0]))
        folder = repository.commits[commit]
        if what == "revision":
            siblings = [{"rfilename": p.relative_to(folder).as_posix()} for p in files(folder)]
            self._json({"id": f"{owner}/{name}", "sha": commit, "siblings": siblings, "tags": []})
            return
        query = parse_qs(urlsplit(self.path).query)
        start, page = int(query.get("cursor", ["0"])[0]), self.server.world.page
        listed = files(folder)
        folders = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "onnx"}]
        entries = [_entry(folder, p) for p in listed[start : start + page]]
        following = start + page
        headers = {}
        if following < len(listed):
            host = self.server.world.next_host or self.server.world.url
            address = f"{host}{path}?recursive=true&cursor={following}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._json(folders + entries, headers)

    def _resolve(self, path):
        parts = unquote(path).lstrip("/").split("/")
        kind = parts.pop(0) if parts[0] == "datasets" else "models"
        owner, name, _, revision, *rest = parts
        repository = self._repository(f"{kind}/{owner}/{name}", path)
        if repository.gated and "reader" not in self.server.world.accounts.get(
            self.headers.get("Authorization", "").removeprefix("Bearer "), ""
        ):
            token = self.headers.get("Authorization")
            raise _Refused(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        commit = self._commit(repository, revision)
        inside = "/".join(rest)
        place = repository.commits[commit] / inside
        if not place.is_file():
            raise _Refused(404, "EntryNotFound", "Entry not found")
        content = place.read_bytes()
        if place.suffix in LARGE:
            address = f"{self.server.world.content.url}/{commit}/{quote(inside)}"
            headers = {
                "Location": f"{address}?X-Signature={SIGNATURE}",
                "X-Repo-Commit": commit,
                "X-Linked-Size": str(len(content)),
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            }
            self._send(302, b"", headers)
            return
        self.server.world.sent[inside] += len(content)
        self._send(200, content, {"X-Repo-Commit": commit, "ETag": f'"{git_blob(content)}"'})

    def _json(self, document, headers=None):
        body = json.dumps(document).encode()
        self._send(200, body, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status, body, headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


def _entry(folder: Path, place: Path) -> dict[str, object]:
    content = place.read_bytes()
    entry: dict[str, object] = {
        "type": "file",
        "oid": git_blob(content),
        "size": len(content),
        "path": place.relative_to(folder).as_posix(),
    }
    if place.suffix in LARGE:
        entry["lfs"] = {
            "oid": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 134,
        }
        # Of a large file git keeps a pointer.
        entry["oid"] = git_blob(b"version https://git-lfs.github.com/spec/v1")
        entry["xetHash"] = hashlib.sha256(content[::-1]).hexdigest()
    return entry
