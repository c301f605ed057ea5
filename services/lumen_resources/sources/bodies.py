"""The bytes of a web server's answer: as the file has them, or a sentence about what came instead.

Files are asked for as they are. Some servers and proxies compress all the same, and object stores
keep what was uploaded compressed: what zlib reads is unpacked, within bounds.
"""

import zlib
from collections.abc import Iterator
from itertools import chain

import httpx

from lumen_manifest.reading.doors import secret_or
from lumen_resources.errors import SourceUnavailableError

# What comes out of one block at most, before whoever counts the file's bytes sees it.
_UNPACKED_BYTES = 1024 * 1024
# What may arrive without unpacking to anything: a body of nothing would never end.
_SILENT_BYTES = 1024 * 1024
# zlib finds out by itself whether a header is gzip's or its own; some send `deflate` without one.
_EITHER_HEADER, _NO_HEADER = 47, -15
_UNPACKED = {"gzip", "x-gzip", "deflate"}


def is_encoded(response: httpx.Response) -> bool:
    """Whether the bytes that come are not the file's own."""
    return _encoding(response) not in {"", "identity"}


def blocks(response: httpx.Response, url: str) -> Iterator[bytes]:
    """Return the file's bytes, block by block as they arrive; waits for the first of them.

    Raises SourceUnavailableError for an encoding that is not read here, and for a web page.
    """
    # As they arrive: asked for larger blocks, httpx would drop an unfinished one at a break.
    arriving: Iterator[bytes] = response.iter_raw()
    if is_encoded(response):
        arriving = _unpacked(arriving, url, _encoding(response))
    arriving = filter(None, arriving)
    first = next(arriving, b"")
    _refuse_page(response, first, url)
    return chain([first], arriving)


def _encoding(response: httpx.Response) -> str:
    encoding: str = response.headers.get("Content-Encoding", "")
    return encoding.strip().lower()


def _unpacked(packed: Iterator[bytes], url: str, encoding: str) -> Iterator[bytes]:
    if encoding not in _UNPACKED:
        raise SourceUnavailableError(
            f"{url} is sent with Content-Encoding {encoding[:40]!r}, although it was asked for as "
            "it is.",
            remedy="Switch compression off for this folder on the web server or proxy.",
        )
    unpacker, silent = None, 0
    try:
        for block in filter(None, packed):
            if unpacker is None:
                bare = encoding == "deflate" and block[0] & 0x0F != 8
                unpacker = zlib.decompressobj(_NO_HEADER if bare else _EITHER_HEADER)
            left, silent = block, silent + len(block)
            # Several gzip files are one, by its standard; zeros may pad their ends.
            while left := left.lstrip(b"\0") if unpacker.eof else left:
                if unpacker.eof:
                    unpacker = zlib.decompressobj(_EITHER_HEADER)
                content = unpacker.decompress(left, _UNPACKED_BYTES)
                yield content
                silent = 0 if content else silent
                left = unpacker.unconsumed_tail or unpacker.unused_data
            if silent > _SILENT_BYTES:
                raise _not_packed_so(url, encoding, f"{silent:,} bytes unpack to nothing")
    except zlib.error as error:
        raise _not_packed_so(url, encoding, str(error)) from error


def _not_packed_so(url: str, encoding: str, found: str) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"{url} is sent with Content-Encoding {encoding}, and is not: {found}.",
        remedy="Switch compression off for this folder on the web server or proxy.",
    )


def _refuse_page(response: httpx.Response, block: bytes, url: str) -> None:
    """No file of a model is a web page: a login or an error page comes with 200 as well."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"} and block.lstrip()[:1] == b"<":
        raise SourceUnavailableError(
            f"{url} answers with a web page instead of the file, as login and error pages do.",
            remedy="Open the address in a browser to see what it says; a source that wants a "
            f"token takes it from {secret_or('LUMEN_SOURCE_TOKEN', 'token')}.",
        )
