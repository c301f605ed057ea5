"""A model in a folder of a web server: model_info.json beside the files it vouches for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import httpx

from lumen_resources.errors import (
    FileMissingError,
    InvalidConfig,
    ResourceError,
    ResourceNotFoundError,
    SourceUnavailableError,
    UnauthorizedError,
)
from lumen_resources.model.lock_file import bytes_digest
from lumen_resources.model.model_info import FILE_NAME, MAX_BYTES, parse
from lumen_resources.sources.bodies import blocks, is_encoded
from lumen_resources.sources.protocol import (
    Part,
    RangeRefusedError,
    SourceAccess,
    SourceSnapshot,
    TransientError,
    revision_fits,
)

MAX_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class HttpSource:
    """A base URL; the files' addresses are the base followed by their relative paths."""

    def __init__(self, uri: str, access: SourceAccess) -> None:
        self.uri = uri
        parts = urlsplit(uri)
        if not parts.hostname or parts.query or parts.fragment or parts.username:
            shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
            raise InvalidConfig(
                f"spec.model.source.uri: {shown!r} must be the plain address of a folder.",
                remedy="Write https://host/path/of/the/model; a token belongs into the Secret of "
                "spec.model.source.secretRef.",
            )
        self._base = uri.rstrip("/") + "/"
        self._sends_token = parts.scheme == "https" or _is_loopback(parts.hostname)
        headers = {"Accept-Encoding": "identity", "User-Agent": "lumen-resources"}
        if access.token and self._sends_token:
            headers["Authorization"] = f"Bearer {access.token}"
        self._withheld = bool(access.token) and not self._sends_token
        timeout = httpx.Timeout(access.read_s, connect=access.connect_s)
        self._client = httpx.Client(
            timeout=timeout, headers=headers, follow_redirects=True, max_redirects=MAX_REDIRECTS
        )

    def snapshot(self, revision: str) -> SourceSnapshot:
        """Fetch model_info.json; its SHA-256, as long as a commit, is the revision."""
        with self._answer(FILE_NAME, {}) as response:
            content = bytearray()
            for block in blocks(response, self._base + FILE_NAME):
                content += block
                if len(content) > MAX_BYTES:
                    break
        info, _ = parse(bytes(content), file=self._base + FILE_NAME)
        resolved = bytes_digest(bytes(content)).sha256[:40]
        if not revision_fits(revision, resolved):
            raise ResourceNotFoundError(
                f"{self.uri} is now at revision {resolved[:12]}, {revision} was asked for.",
                remedy="Correct spec.model.source.revision, or leave it out to take what is there.",
                file=FILE_NAME,
            )
        return SourceSnapshot(resolved, bytes(content), info.digests())

    @contextmanager
    def read(self, path: str, offset: int, validator: str) -> Iterator[Part]:
        """Ask for a file from `offset` on; a server that will not, answers with all of it."""
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        with self._answer(path, headers) as response:
            start, total = _span(response, offset)
            yield Part(start, total, _validator(response), blocks(response, self._base + path))

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    @contextmanager
    def _answer(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        url = self._base + quote(path)
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                self._refuse_bad_status(response, path, ranged="Range" in headers)
                yield response
        except httpx.TimeoutException as error:
            raise _unreachable(url, "no answer in time") from error
        except httpx.TransportError as error:
            raise _unreachable(url, str(error) or type(error).__name__) from error
        except httpx.TooManyRedirects as error:
            raise _unreachable(url, f"more than {MAX_REDIRECTS} redirects") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InvalidConfig(
                f"{url} is not an address: {error}.", remedy="Correct spec.model.source.uri."
            ) from error

    def _refuse_bad_status(self, response: httpx.Response, path: str, *, ranged: bool) -> None:
        status = response.status_code
        if status == 200 or (status == 206 and ranged):
            return
        url = _shown(response.url)
        if status in {401, 403}:
            raise self._unauthorized(url, status)
        if status in {404, 410}:
            raise _absent(url, path)
        if status == 416 and ranged:
            # The file became shorter than what we have of it; asked again from its start.
            raise RangeRefusedError(f"{url} has no such range.", remedy="Start again.")
        if status in {408, 425, 429} or status >= 500:
            raise TransientError(
                f"{url} answers {status} {response.reason_phrase}.",
                remedy="It is tried again by itself; if it stays, ask the source's operator.",
                retry_after_s=_retry_after(response),
            )
        raise SourceUnavailableError(
            f"{url} answers {status} {response.reason_phrase}; 200 is expected.",
            remedy="Check spec.model.source.uri.",
            file=path,
        )

    def _unauthorized(self, url: str, status: int) -> ResourceError:
        if self._withheld:
            return UnauthorizedError(
                f"{url} answers {status}. There is a token, but it is sent over https only.",
                remedy="Write https:// in spec.model.source.uri.",
            )
        had = "refuses the token" if "Authorization" in self._client.headers else "wants a token"
        return UnauthorizedError(
            f"{url} {had} (HTTP {status}).",
            remedy="Put one that may read it into the key `token` of the Secret that "
            "spec.model.source.secretRef names (on one machine: LUMEN_SOURCE_TOKEN).",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _shown(url: httpx.URL) -> str:
    """Return an address without what a redirect may have put into it: signatures, a password."""
    return str(url.copy_with(query=None, username="", password=""))


def _span(response: httpx.Response, asked: int) -> tuple[int, int | None]:
    """Return at which byte the body starts, and the whole file's size."""
    if is_encoded(response):
        # Lengths and ranges are then those of the encoded bytes.
        if response.status_code == 206:
            raise RangeRefusedError(
                f"{_shown(response.url)} answers a range of encoded bytes.", remedy="Start again."
            )
        return 0, None
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != asked:
            raise RangeRefusedError(
                f"{_shown(response.url)} answers another range than {asked}-.",
                remedy="Start again.",
            )
        return asked, None if found[3] == "*" else int(found[3])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if _is_number(length) else None


def _validator(response: httpx.Response) -> str:
    """Return what If-Range may hold: a strong ETag, else nothing (dates are too coarse)."""
    etag: str = response.headers.get("ETag", "")
    return "" if etag.startswith("W/") or is_encoded(response) else etag


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if _is_number(value) else None


def _is_number(text: str) -> bool:
    """Whether a header is a number; other alphabets have digits as well."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _unreachable(url: str, cause: str) -> TransientError:
    return TransientError(
        f"{url} cannot be reached: {cause}.",
        remedy="Check the network, proxy and NetworkPolicies on the way, or name a mirror in "
        "spec.model.source.uri. What was fetched is kept.",
    )


def _absent(url: str, path: str) -> ResourceError:
    if path == FILE_NAME:
        return ResourceNotFoundError(
            f"{url} does not exist (HTTP 404).",
            remedy="Check spec.model.source.uri: it must be the folder that holds "
            "model_info.json. Some hosts answer so when a token is missing.",
            file=path,
        )
    return FileMissingError(
        f"{url} does not exist (HTTP 404), though model_info.json names it.",
        remedy="The folder at the source is incomplete: its owner must put the file there.",
        file=path,
    )
