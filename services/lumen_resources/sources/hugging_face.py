"""Repositories of Hugging Face's hub, or of a mirror that speaks like it (HF_ENDPOINT).

The hub's own library says which endpoint, token and cache are meant, as it does for every other
tool of a machine. The hub is asked by our own client: the library's has no time-outs, waits for as
long as an answer says, follows a list's next page anywhere with its token, and reads whatever
comes.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from huggingface_hub import constants, get_token
from huggingface_hub.errors import OIDCError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from lumen_manifest.reading.doors import secret_or
from lumen_manifest.spec.field_types import COMMIT, SHA256
from lumen_resources.errors import (
    FileMissingError,
    ResourceError,
    ResourceNotFoundError,
    ResourceValidationError,
    SourceUnavailableError,
    UnauthorizedError,
)
from lumen_resources.sources import hub_cache
from lumen_resources.sources.promises import HUB, DigestRule, FilePromise
from lumen_resources.sources.protocol import Part, SourceAccess, SourceSnapshot
from lumen_resources.sources.repositories import (
    MAX_LISTED,
    MAX_PAGE_BYTES,
    HubAddress,
    promises_of,
    read_answer,
)
from lumen_resources.sources.web import Refusal, WebClient, may_have_token

# The hub sends a thousand entries at a time; one that sends fewer never ends.
MAX_PAGES = 2 * MAX_LISTED // 1000
_WHERE = secret_or("HF_TOKEN, or `hf auth login`", "token")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Revision(_Answer):
    sha: Annotated[str, Field(pattern=COMMIT.regex)]


class _Large(_Answer):
    oid: Annotated[str, Field(pattern=SHA256.regex)]
    size: Annotated[int, Field(ge=0)]


class _Entry(_Answer):
    type: str
    path: Annotated[str, Field(max_length=4096)]
    size: Annotated[int, Field(ge=0)]
    oid: Annotated[str, Field(pattern=COMMIT.regex)]
    lfs: _Large | None = None

    def promise(self) -> FilePromise:
        """Return what the hub says of the file: a large one by SHA-256, a small one as git does."""
        if self.lfs is not None:
            return FilePromise(self.lfs.size, self.lfs.oid, said_by=HUB)
        return FilePromise(self.size, self.oid, DigestRule.GIT_BLOB, HUB)


_REVISION: TypeAdapter[Any] = TypeAdapter(_Revision)
_PAGE: TypeAdapter[Any] = TypeAdapter(list[_Entry])


class HuggingFaceSource:
    """A repository of models or of data, at the commit that a branch or tag stood for."""

    keeps_history = True

    def __init__(self, uri: str, access: SourceAccess) -> None:
        self.uri = uri
        self._repository = HubAddress.parse(uri)
        self._endpoint = constants.ENDPOINT
        self._token = access.token or _own_token()
        self._sends_token = bool(self._token) and may_have_token(self._endpoint)
        headers = {"Authorization": f"Bearer {self._token}"} if self._sends_token else {}
        self._web = WebClient(access, self._explain, headers)
        self._asked = ""
        self._commit = ""

    def snapshot(self, revision: str) -> SourceSnapshot:
        """Resolve a branch, tag or commit, and list what the repository has there."""
        asked = self._repository.chosen_revision(revision) or constants.DEFAULT_REVISION
        if constants.is_offline_mode():
            return self._from_cache(asked)
        self._asked = asked
        url = f"{self._api}/revision/{quote(asked, safe='')}"
        document = self._web.document(url, "", MAX_PAGE_BYTES)
        self._commit = read_answer(document, _REVISION, url).sha
        promises = promises_of(self._files(), self.uri)
        return SourceSnapshot(self._commit, promises, repository=self._repository.name)

    def at_hand(self, path: str, promise: FilePromise) -> Path | None:
        """Return where the hub's own library keeps the file, if it fetched it."""
        del path
        return hub_cache.blob(self._cache, promise)

    def document(self, path: str, most_bytes: int) -> bytes:
        """Fetch a small file as a whole."""
        return self._web.document(self._address(path), path, most_bytes).content

    def read(self, path: str, offset: int, validator: str) -> AbstractContextManager[Part]:
        """Ask for a file; large ones come from a content network, which gets no token."""
        return self._web.read(self._address(path), path, offset, validator)

    def close(self) -> None:
        """Release connections."""
        self._web.close()

    def _address(self, path: str) -> str:
        if constants.is_offline_mode():
            raise self._offline(f"{path} is not in {self._cache}")
        return f"{self._pages}/resolve/{self._commit}/{quote(path)}"

    @property
    def _api(self) -> str:
        return f"{self._endpoint}/api/{self._repository.kind}/{self._repository.name}"

    @property
    def _pages(self) -> str:
        kind = "" if self._repository.kind == "models" else f"{self._repository.kind}/"
        return f"{self._endpoint}/{kind}{self._repository.name}"

    @property
    def _cache(self) -> Path:
        kind, name = self._repository.kind, self._repository.name
        return hub_cache.repository_folder(Path(constants.HF_HUB_CACHE), kind, name)

    def _from_cache(self, revision: str) -> SourceSnapshot:
        """Describe what the hub's own tools have fetched, where the hub must not be asked."""
        commit = hub_cache.commit_of(self._cache, revision)
        if commit is None:
            raise self._offline(f"{self._cache} does not have revision {revision}")
        self._commit = commit
        promises = promises_of(hub_cache.listed(self._cache, commit), self.uri)
        return SourceSnapshot(commit, promises, repository=self._repository.name)

    def _offline(self, found: str) -> SourceUnavailableError:
        return SourceUnavailableError(
            f"{self.uri} is not asked, since HF_HUB_OFFLINE is set; {found}.",
            remedy="Fetch it once without HF_HUB_OFFLINE (`lumen resources download`); every "
            "later start needs no network.",
        )

    def _files(self) -> Iterator[tuple[str, FilePromise]]:
        url = f"{self._api}/tree/{self._commit}?recursive=true&expand=false"
        for _ in range(MAX_PAGES):
            document = self._web.document(url, "", MAX_PAGE_BYTES)
            for entry in read_answer(document, _PAGE, url):
                if entry.type == "file":
                    yield entry.path, entry.promise()
            if not document.next_url:
                return
            url = self._at_endpoint(document.next_url)
        raise ResourceValidationError(
            f"{self.uri} is listed on more than {MAX_PAGES} pages.",
            remedy="Name the repository of one model, and check that HF_ENDPOINT is a hub.",
        )

    def _at_endpoint(self, url: str) -> str:
        """Ask the next page where the first came from: mirrors pass on the hub's own addresses."""
        endpoint = httpx.URL(self._endpoint)
        moved = httpx.URL(url).copy_with(
            scheme=endpoint.scheme, host=endpoint.host, port=endpoint.port, userinfo=b""
        )
        return str(moved)

    def _explain(self, refusal: Refusal) -> ResourceError | None:
        """Tell answers apart by what the hub says beside the status."""
        code = refusal.headers.get("X-Error-Code", "")
        said = refusal.headers.get("X-Error-Message", "")
        if code == "GatedRepo":
            return UnauthorizedError(
                f"{self.uri} is gated: its owner lets in who accepted the conditions.",
                remedy=f"Accept them at {self._pages}, and put a token of that account into "
                f"{_WHERE}.",
            )
        if code == "RevisionNotFound":
            return ResourceNotFoundError(
                f"{self.uri} has no revision {self._asked} (HTTP {refusal.status}).",
                remedy="Correct spec.model.source.revision: a branch, a tag or a commit.",
            )
        if code == "EntryNotFound":
            return FileMissingError(
                f"{refusal.path} is not in {self.uri}, though it is listed.",
                remedy="Run again; if it stays, report it to the repository's owner.",
                file=refusal.path,
            )
        if "disabled" in said:
            return ResourceNotFoundError(
                f"{self.uri} was disabled by the hub.", remedy="Name another repository."
            )
        if refusal.status == 404 or code == "RepoNotFound":
            return self._not_found(refusal)
        return self._unauthorized(refusal) if refusal.status in {401, 403} else None

    def _not_found(self, refusal: Refusal) -> ResourceError:
        return ResourceNotFoundError(
            f"{self.uri} does not exist at {self._endpoint}, or is private "
            f"(HTTP {refusal.status}).",
            remedy="Check its spelling, upper and lower case too (data sets begin with "
            f"hf://datasets/); for a private one put a token into {_WHERE}.",
        )

    def _unauthorized(self, refusal: Refusal) -> ResourceError:
        if self._token and not self._sends_token:
            found = "answers"
            advice = "There is a token, but it is sent over https only: correct HF_ENDPOINT."
        elif self._token:
            found = "refuses the token"
            advice = f"Put one that may read {self._repository.name} into {_WHERE}."
        else:
            found, advice = "wants a token", f"Put one into {_WHERE}."
        return UnauthorizedError(f"{refusal.url} {found} (HTTP {refusal.status}).", remedy=advice)


def _own_token() -> str:
    """Return the token of this machine or account, as every tool of the hub finds it."""
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return ""
    try:
        return get_token() or ""
    except (OIDCError, OSError) as error:
        raise UnauthorizedError(
            f"The hub's library cannot get a token: {error}.",
            remedy=f"Put one into {_WHERE}, or unset HF_OIDC_RESOURCE.",
        ) from error
