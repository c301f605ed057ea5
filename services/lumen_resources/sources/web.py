"""What every source over HTTP does: ask within bounds, go on from a byte, say what was answered.

A token goes to the host it is meant for, over https (to loopback also over http): redirects to
another host, as to a content network, are followed without it. Addresses are shown without the
signatures that such redirects carry.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import httpx

from lumen_resources.errors import InvalidConfig, ResourceError, SourceUnavailableError
from lumen_resources.sources.bodies import blocks, is_encoded
from lumen_resources.sources.protocol import (
    DOCUMENT_S,
    Part,
    RangeRefusedError,
    SourceAccess,
    TransientError,
)

MAX_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_RESET_IN = re.compile(r"(?:^|;)\s*t\s*=\s*(\d{1,9})\b")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none: its status, its address without secrets, and its headers."""

    status: int
    url: str
    headers: Mapping[str, str]
    path: str


@dataclass(frozen=True, slots=True)
class Document:
    """A whole small answer, and the address of its next page, empty for none."""

    content: bytes
    next_url: str


# Says what a status means at this source; None when it means nothing in particular.
Explain = Callable[[Refusal], ResourceError | None]


# httpx sends these through the environment's proxy too, which cannot reach them.
_WITHOUT_PROXY: Mapping[str, None] = {
    "all://localhost": None,
    "all://127.0.0.1": None,
    "all://[::1]": None,
}


class WebClient:
    """A client of one web server or hub."""

    def __init__(
        self,
        access: SourceAccess,
        explain: Explain,
        headers: Mapping[str, str],
        cookies: httpx.Cookies | None = None,
    ) -> None:
        self._explain = explain
        self._client = httpx.Client(
            timeout=httpx.Timeout(access.read_s, connect=access.connect_s),
            headers={"Accept-Encoding": "identity", "User-Agent": "lumen-resources", **headers},
            cookies=cookies,
            mounts=_WITHOUT_PROXY,
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
        )

    @contextmanager
    def read(self, url: str, path: str, offset: int, validator: str) -> Iterator[Part]:
        """Ask for a file from `offset` on; a server that will not, answers with all of it."""
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        with self._answer(url, path, headers) as response:
            start, total = _span(response, offset)
            yield Part(start, total, _validator(response), blocks(response, shown(response.url)))

    def document(self, url: str, path: str, most_bytes: int) -> Document:
        """Return a small answer as a whole; more than `most_bytes` are cut, one byte is left over.

        Raises SourceUnavailableError when it has not come by then.
        """
        deadline = time.monotonic() + DOCUMENT_S
        with self._answer(url, path, {}) as response:
            content = bytearray()
            for block in blocks(response, shown(response.url)):
                content += block
                if len(content) > most_bytes:
                    break
                if time.monotonic() > deadline:
                    raise _unreachable(url, f"it was not answered within {DOCUMENT_S:.0f} s")
            following = response.links.get("next", {}).get("url", "")
            next_url = str(response.url.join(following)) if following else ""
        return Document(bytes(content[: most_bytes + 1]), next_url)

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    @contextmanager
    def _answer(self, url: str, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
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
        url = shown(response.url)
        if status == 416 and ranged:
            # The file became shorter than what we have of it; asked again from its start.
            raise RangeRefusedError(f"{url} has no such range.", remedy="Start again.")
        if status in {408, 425, 429} or status >= 500:
            raise TransientError(
                f"{url} answers {status} {response.reason_phrase}.",
                remedy="It is tried again by itself; if it stays, ask the source's operator.",
                retry_after_s=_retry_after(response),
            )
        known = self._explain(Refusal(status, url, response.headers, path))
        if known is not None:
            raise known
        raise SourceUnavailableError(
            f"{url} answers {status} {response.reason_phrase}; 200 is expected.",
            remedy="Check spec.model.source.uri.",
            file=path,
        )


def may_have_token(url: httpx.URL | str) -> bool:
    """Whether a token may be sent there: over https, or to this machine."""
    url = httpx.URL(url)
    return url.scheme == "https" or is_loopback(url.host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown(url: httpx.URL) -> str:
    """Return an address without what a redirect may have put into it: signatures, a password."""
    return str(url.copy_with(query=None, username="", password=""))


def _span(response: httpx.Response, asked: int) -> tuple[int, int | None]:
    """Return at which byte the body starts, and the whole file's size."""
    if is_encoded(response):
        # Lengths and ranges are then those of the encoded bytes.
        if response.status_code == 206:
            raise RangeRefusedError(
                f"{shown(response.url)} answers a range of encoded bytes.", remedy="Start again."
            )
        return 0, None
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != asked:
            raise RangeRefusedError(
                f"{shown(response.url)} answers another range than {asked}-.",
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
    """Return for how long the server asks to wait: by Retry-After, or as hubs tell of their limits.

    `RateLimit: "api";r=0;t=55` means that 55 seconds from now there are requests left again.
    """
    value = response.headers.get("Retry-After", "")
    reset = _RESET_IN.search(response.headers.get("RateLimit", ""))
    if not _is_number(value) and reset is not None:
        value = reset[1]
    return float(value) if _is_number(value) else None


def _is_number(text: str) -> bool:
    """Whether a header is a number; other alphabets have digits as well."""
    return text.isascii() and text.isdigit() and len(text) < 20


def _unreachable(url: str, cause: str) -> TransientError:
    return TransientError(
        f"{shown(httpx.URL(url))} cannot be reached: {cause}.",
        remedy="Check the network, proxy and NetworkPolicies on the way, or name a mirror "
        "(docs/resources.md lists the variables). What was fetched is kept.",
    )
