"""Repositories of ModelScope: its API lists every file with its SHA-256."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from http.cookiejar import Cookie
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from lumen_manifest.reading.doors import secret_or
from lumen_resources.errors import (
    ModelInfoError,
    ResourceError,
    ResourceNotFoundError,
    ResourceValidationError,
    UnauthorizedError,
)
from lumen_resources.model.lock_file import canonical_json
from lumen_resources.sources.promises import HUB, FilePromise
from lumen_resources.sources.protocol import Part, SourceAccess, SourceSnapshot
from lumen_resources.sources.repositories import (
    MAX_PAGE_BYTES,
    HubAddress,
    promises_of,
    read_answer,
)
from lumen_resources.sources.web import Refusal, WebClient, may_have_token

DOMAIN, TOKEN = "MODELSCOPE_DOMAIN", "MODELSCOPE_API_TOKEN"
_COMMIT = re.compile(r"[0-9a-f]{40}")
# As many entries as the hub sends at a time, and how often it is asked for more.
PAGE_FILES, MAX_PAGES = 100, 500
USUAL_DOMAIN, USUAL_BRANCH = "www.modelscope.cn", "master"


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _File(_Said):
    type: str = Field(alias="Type")
    path: Annotated[str, Field(alias="Path", max_length=4096)]
    size: Annotated[int, Field(alias="Size", ge=0)] = 0
    sha256: str | None = Field(default=None, alias="Sha256")
    revision: str | None = Field(default=None, alias="Revision")


class _Committer(_Said):
    commit: str | None = Field(default=None, alias="Id")
    short: str | None = Field(default=None, alias="ShortId")


class _Data(_Said):
    number: int = Field(default=0, alias="Id")
    files: list[_File] | None = Field(default=None, alias="Files")
    latest: _Committer | None = Field(default=None, alias="LatestCommitter")

    def commit(self) -> str:
        """Return the commit that was listed, '' when the hub does not say it in full.

        It says eight digits of it, and of each file the commit that last changed it.
        """
        latest = self.latest or _Committer()
        if _COMMIT.fullmatch(latest.commit or ""):
            return latest.commit or ""
        changes = {file.revision or "" for file in self.files or ()}
        commits = sorted(change for change in changes if _COMMIT.fullmatch(change))
        short = latest.short or ""
        return next((c for c in commits if len(short) >= 8 and c.startswith(short)), "")


class _Listing(_Said):
    code: int = Field(alias="Code")
    data: _Data | None = Field(default=None, alias="Data")


_LISTING: TypeAdapter[Any] = TypeAdapter(_Listing)


class ModelScopeSource:
    """A repository of models or of data, at the commit that a branch or tag stood for."""

    keeps_history = True

    def __init__(self, uri: str, access: SourceAccess) -> None:
        self.uri = uri
        self._repository = HubAddress.parse(uri)
        self._endpoint = _endpoint(access.variables)
        token = access.token or access.variables.get(TOKEN, "")
        self._has_token = bool(token) and may_have_token(self._endpoint)
        cookies = httpx.Cookies()
        if self._has_token:
            cookies.jar.set_cookie(_token_cookie(token, self._endpoint))
        self._web = WebClient(access, self._explain, {}, cookies)
        self._revision = ""

    def snapshot(self, revision: str) -> SourceSnapshot:
        """List what the repository has at a branch, tag or commit.

        The revision is the commit, or where the hub does not say it a digest over the list.
        """
        asked = self._repository.chosen_revision(revision)
        asked = USUAL_BRANCH if asked in {"", "main"} else asked
        listed = self._listed_data_set(asked) if self._is_data_set else self._listed_model(asked)
        if not listed.files:
            # An unknown revision is answered with an empty list.
            raise ResourceNotFoundError(
                f"{self.uri} has no files at revision {asked}.",
                remedy="Correct spec.model.source.revision: a branch, a tag or a commit.",
            )
        promises = promises_of(_promised(listed.files, self.uri), self.uri)
        commit = listed.commit()
        self._revision = commit or asked
        revision = commit or _identity(promises)
        return SourceSnapshot(revision, promises, repository=self._repository.name)

    def at_hand(self, path: str, promise: FilePromise) -> Path | None:
        """Return None: the hub's own library names files by their paths only."""
        del path, promise
        return None  # absence is the answer

    def document(self, path: str, most_bytes: int) -> bytes:
        """Fetch a small file as a whole."""
        return self._web.document(self._address(path), path, most_bytes).content

    def read(self, path: str, offset: int, validator: str) -> AbstractContextManager[Part]:
        """Ask for a file; large ones come from a content network."""
        return self._web.read(self._address(path), path, offset, validator)

    def close(self) -> None:
        """Release connections."""
        self._web.close()

    @property
    def _is_data_set(self) -> bool:
        return self._repository.kind == "datasets"

    @property
    def _api(self) -> str:
        return f"{self._endpoint}/api/v1/{self._repository.kind}/{quote(self._repository.name)}"

    def _address(self, path: str) -> str:
        query = urlencode({"Revision": self._revision, "FilePath": path})
        return f"{self._api}/repo?{query}"

    def _listed_model(self, revision: str) -> _Data:
        """Ask for all files of a model at once."""
        query = urlencode({"Revision": revision, "Recursive": "True"})
        return self._answer(f"{self._api}/repo/files?{query}")

    def _listed_data_set(self, revision: str) -> _Data:
        """Ask for a data set's files, which are listed in pages and by its number."""
        number = self._answer(self._api).number
        files: list[_File] = []
        for page in range(1, MAX_PAGES + 1):
            query = urlencode(
                {
                    "Revision": revision,
                    "Root": "/",
                    "Recursive": "True",
                    "PageNumber": page,
                    "PageSize": PAGE_FILES,
                }
            )
            url = f"{self._endpoint}/api/v1/datasets/{number}/repo/tree?{query}"
            found = self._answer(url).files or []
            files += found
            if len(found) < PAGE_FILES:
                return _Data(Files=files)
        raise ResourceValidationError(
            f"{self.uri} is listed on more than {MAX_PAGES} pages.",
            remedy="Name a repository with fewer files.",
        )

    def _answer(self, url: str) -> _Data:
        document = self._web.document(url, "", MAX_PAGE_BYTES)
        answer: _Listing = read_answer(document, _LISTING, url)
        return answer.data if answer.code == 200 and answer.data is not None else _Data()

    def _explain(self, refusal: Refusal) -> ResourceError | None:
        if refusal.status in {401, 403}:
            found = "refuses the token" if self._has_token else "wants a token"
            return UnauthorizedError(
                f"{refusal.url} {found} (HTTP {refusal.status}).",
                remedy=f"Put one that may read it into {secret_or(TOKEN, 'token')}.",
            )
        if refusal.status == 404:
            return ResourceNotFoundError(
                f"{self.uri} does not exist at {self._endpoint}, or is private (HTTP 404).",
                remedy="Check its spelling, upper and lower case too; a private one wants a token.",
            )
        return None


def _promised(files: list[_File], uri: str) -> Iterator[tuple[str, FilePromise]]:
    for file in files:
        if file.type == "tree":
            continue
        digest = (file.sha256 or "").lower()
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ModelInfoError(
                f"{uri} proves no SHA-256 for {file.path[:200]!r}.",
                remedy="Name a repository whose files ModelScope has digests of.",
                file=file.path,
            )
        yield file.path, FilePromise(file.size, digest, said_by=HUB)


def _identity(promises: Mapping[str, FilePromise]) -> str:
    listed = {path: [p.size, p.digest] for path, p in promises.items()}
    return hashlib.sha256(canonical_json(listed)).hexdigest()[:40]


def _endpoint(variables: Mapping[str, str]) -> str:
    """Return where the hub is: MODELSCOPE_DOMAIN is a host, and an address is taken as well."""
    domain = variables.get(DOMAIN, "").strip().rstrip("/") or USUAL_DOMAIN
    return domain if "://" in domain else f"https://{domain}"


def _token_cookie(token: str, endpoint: str) -> Cookie:
    """Return the token for the host it is meant for, so that no other gets it.

    Over https it never leaves in the clear, whatever a redirect says.
    """
    return Cookie(
        version=0,
        name="m_session_id",
        value=token,
        port=None,
        port_specified=False,
        domain=_cookie_domain(endpoint),
        domain_specified=True,
        domain_initial_dot=False,
        path="/",
        path_specified=True,
        secure=endpoint.startswith("https://"),
        expires=None,
        discard=True,
        comment=None,
        comment_url=None,
        rest={},
    )


def _cookie_domain(endpoint: str) -> str:
    """Return the host as cookies name it: one without a dot stands for a name of this network."""
    host = urlsplit(endpoint).hostname or ""
    return host if "." in host else f"{host}.local"
