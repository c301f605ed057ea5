"""A model in a folder of a web server: model_info.json beside the files it vouches for."""

from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote, urlsplit

from lumen_manifest.reading.doors import secret_or
from lumen_resources.errors import (
    FileMissingError,
    InvalidConfig,
    ResourceError,
    ResourceNotFoundError,
    UnauthorizedError,
)
from lumen_resources.model.model_info import FILE_NAME, MAX_BYTES
from lumen_resources.sources.folders import snapshot_of
from lumen_resources.sources.promises import FilePromise
from lumen_resources.sources.protocol import Part, SourceAccess, SourceSnapshot
from lumen_resources.sources.web import Refusal, WebClient, may_have_token

_WHERE = secret_or("LUMEN_SOURCE_TOKEN", "token")


class HttpSource:
    """A base URL; the files' addresses are the base followed by their relative paths."""

    keeps_history = False

    def __init__(self, uri: str, access: SourceAccess) -> None:
        self.uri = uri
        parts = urlsplit(uri)
        if not parts.hostname or parts.query or parts.fragment or parts.username:
            shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
            raise InvalidConfig(
                f"spec.model.source.uri: {shown!r} must be the plain address of a folder.",
                remedy=f"Write https://host/path/of/the/model; a token belongs into {_WHERE}.",
            )
        self._base = uri.rstrip("/") + "/"
        self._has_token = bool(access.token)
        self._sends_token = self._has_token and may_have_token(uri)
        headers = {"Authorization": f"Bearer {access.token}"} if self._sends_token else {}
        self._web = WebClient(access, self._explain, headers)

    def snapshot(self, revision: str) -> SourceSnapshot:
        """Fetch model_info.json; its SHA-256, as long as a commit, is the revision."""
        content = self.document(FILE_NAME, MAX_BYTES)
        return snapshot_of(content, revision, self.uri, self._url(FILE_NAME))

    def at_hand(self, path: str, promise: FilePromise) -> Path | None:
        """Return None: nothing else on this machine keeps files of web servers."""
        del path, promise
        return None  # absence is the answer

    def document(self, path: str, most_bytes: int) -> bytes:
        """Fetch a small file as a whole."""
        return self._web.document(self._url(path), path, most_bytes).content

    def read(self, path: str, offset: int, validator: str) -> AbstractContextManager[Part]:
        """Ask for a file from `offset` on; a server that will not, answers with all of it."""
        return self._web.read(self._url(path), path, offset, validator)

    def close(self) -> None:
        """Release connections."""
        self._web.close()

    def _url(self, path: str) -> str:
        return self._base + quote(path)

    def _explain(self, refusal: Refusal) -> ResourceError | None:
        if refusal.status in {401, 403}:
            return self._unauthorized(refusal)
        return _absent(refusal) if refusal.status in {404, 410} else None

    def _unauthorized(self, refusal: Refusal) -> ResourceError:
        if self._has_token and not self._sends_token:
            return UnauthorizedError(
                f"{refusal.url} answers {refusal.status}. There is a token, but it is sent over "
                "https only.",
                remedy="Write https:// in spec.model.source.uri.",
            )
        had = "refuses the token" if self._sends_token else "wants a token"
        return UnauthorizedError(
            f"{refusal.url} {had} (HTTP {refusal.status}).",
            remedy=f"Put one that may read it into {_WHERE}.",
        )


def _absent(refusal: Refusal) -> ResourceError:
    if refusal.path == FILE_NAME:
        return ResourceNotFoundError(
            f"{refusal.url} does not exist (HTTP 404).",
            remedy="Check spec.model.source.uri: it must be the folder that holds "
            "model_info.json. Some hosts answer so when a token is missing.",
            file=refusal.path,
        )
    return FileMissingError(
        f"{refusal.url} does not exist (HTTP 404).",
        remedy="Check spec.model.source.uri; if model_info.json names this file, its owner must "
        "put it there.",
        file=refusal.path,
    )
