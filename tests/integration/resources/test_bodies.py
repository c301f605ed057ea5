"""What a web server may make of a body: its lengths, its chunks, its packing, where it sends on."""

import gzip
import socket
import threading
from contextlib import contextmanager

import pytest

from lumen_resources.errors import ResourceError, SourceUnavailableError
from lumen_resources.sources.http import HttpSource
from lumen_resources.sources.open import open_source
from lumen_resources.sources.protocol import RangeRefusedError, SourceAccess

CONTENT = bytes(range(256)) * 400


@contextmanager
def a_server(*answers: bytes):
    """Serve the answers, whole as they are, one a connection; yield address and heads asked."""
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    heads.append(connection.recv(65536))
                    connection.sendall(answer)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/model", heads
        server.join(10)


def an_answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", *headers, "Connection: close"))
    return f"{head}\r\n\r\n".encode() + body


def in_chunks(content: bytes, size: int = 7000) -> bytes:
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def read(url: str, offset: int = 0) -> bytes:
    with HttpSource(url, SourceAccess(read_s=10)).read("weights", offset, "") as part:
        return b"".join(part.blocks)


def test_a_body_in_chunks_is_the_file():
    with a_server(an_answer(in_chunks(CONTENT), "Transfer-Encoding: chunked")) as (url, _):
        assert read(url) == CONTENT


def test_a_body_in_chunks_that_breaks_off_is_no_file():
    cut = in_chunks(CONTENT)[:-2000]
    with (
        a_server(an_answer(cut, "Transfer-Encoding: chunked")) as (url, _),
        pytest.raises(SourceUnavailableError),
    ):
        read(url)


def test_a_body_that_is_shorter_than_its_length_is_no_file():
    with (
        a_server(an_answer(CONTENT[:-5], f"Content-Length: {len(CONTENT)}")) as (url, _),
        pytest.raises(SourceUnavailableError),
    ):
        read(url)


def test_a_body_that_is_longer_than_its_length_ends_where_it_said():
    with a_server(an_answer(CONTENT + b"more", f"Content-Length: {len(CONTENT)}")) as (url, _):
        assert read(url) == CONTENT


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: -1",),
        ("Content-Length: 5, 6",),
        ("Content-Length: 0x10",),
        ("Transfer-Encoding: zipped",),
    ],
)
def test_a_length_that_makes_no_sense_is_a_sentence_and_no_traceback(headers):
    with a_server(an_answer(CONTENT, *headers)) as (url, _), pytest.raises(ResourceError):
        read(url)


def test_several_gzip_files_one_after_the_other_are_one_file():
    packed = b"".join(gzip.compress(part) for part in (CONTENT[:1000], b"", CONTENT[1000:]))
    with a_server(an_answer(packed + bytes(512), "Content-Encoding: gzip")) as (url, _):
        assert read(url) == CONTENT


def test_a_packed_body_of_nothing_does_not_go_on_for_ever():
    nothing = gzip.compress(b"") * 100_000
    with (
        a_server(an_answer(nothing, "Content-Encoding: gzip")) as (url, _),
        pytest.raises(SourceUnavailableError, match="unpack to nothing"),
    ):
        read(url)


def test_what_follows_a_packed_file_and_is_none_is_named():
    packed = gzip.compress(CONTENT) + b"and more"
    with (
        a_server(an_answer(packed, "Content-Encoding: gzip")) as (url, _),
        pytest.raises(SourceUnavailableError, match="and is not"),
    ):
        read(url)


def test_a_token_is_not_sent_to_where_a_source_sends_on():
    with a_server(an_answer(CONTENT, f"Content-Length: {len(CONTENT)}")) as (other, heads):
        # Another port is another server.
        on = an_answer(b"", f"Location: {other}", "Content-Length: 0", status="302 Found")
        with a_server(on) as (url, first):
            source = HttpSource(url, SourceAccess(token="t0ken"))
            with source.read("weights", 0, "") as part:
                assert b"".join(part.blocks) == CONTENT
            assert b"Bearer t0ken" in first[0]
    assert b"t0ken" not in heads[0]


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "//"])
def test_a_source_that_sends_on_to_no_web_address_is_refused(where):
    on = an_answer(b"", f"Location: {where}", "Content-Length: 0", status="302 Found")
    with a_server(on) as (url, _), pytest.raises(ResourceError):
        read(url)


def test_an_error_shows_no_signature_that_a_redirect_put_into_the_address():
    ranged = an_answer(CONTENT, "Content-Range: bytes 6-7/8", status="206 Partial Content")
    with a_server(ranged) as (other, _):
        signed = other.replace("//", "//user:s3cret@") + "?signature=s3cret"
        on = an_answer(b"", f"Location: {signed}", "Content-Length: 0", status="302 Found")
        with a_server(on) as (url, _), pytest.raises(RangeRefusedError) as refused:
            read(url, offset=5)
    assert "s3cret" not in str(refused.value)


def test_an_unknown_kind_of_address_is_shown_without_its_password():
    with pytest.raises(ResourceError, match="ftp://host/x") as refused:
        open_source("ftp://user:s3cret@host/x", SourceAccess())
    assert "s3cret" not in str(refused.value)
