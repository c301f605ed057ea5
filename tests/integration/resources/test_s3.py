"""Models in buckets, read from a real S3 protocol: keys, ranges, and what ETags do not prove."""

import contextlib
import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from botocore.config import Config
from model_sources import TEXT, VISION, a_config, bent
from moto.server import ThreadedMotoServer
from tiny_models import write_model

from lumen_process.backoff import Backoff
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify
from lumen_resources.fetch.transfer import fetch_missing, partial, staged
from lumen_resources.progress import Progress
from lumen_resources.sources import s3
from lumen_resources.sources.promises import FilePromise
from lumen_resources.sources.protocol import RetryPolicy, SourceAccess
from lumen_resources.sources.s3 import S3Source

URI = "s3://models/some/tiny-clip"
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    for name in (*KEYS, "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="models")
    folder = write_model(tmp_path / "source")
    for path in folder.rglob("*"):
        if path.is_file():
            put(client, path.relative_to(folder).as_posix(), path.read_bytes())
    client.endpoint = f"http://{host}:{port}"
    yield client
    server.stop()


def put(client, path: str, content: bytes) -> None:
    client.put_object(Bucket="models", Key=f"some/tiny-clip/{path}", Body=content)


def access(client, **changes) -> SourceAccess:
    retries = RetryPolicy(attempts=2, backoff=Backoff(0.002, 15))
    variables = {"AWS_ENDPOINT_URL": client.endpoint, **changes.pop("variables", {})}
    return SourceAccess(variables=variables, retries=retries, connect_s=2.0, **changes)


def fetch(client, cache, uri=URI, **changes):
    config = a_config(uri, "tiny-classes")
    options = FetchOptions(access=access(client, **changes))
    return fetch_and_verify(config, cache, cache, Progress(), options)


def refused(client, cache, uri=URI, **changes) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        fetch(client, cache, uri, **changes)
    return caught.value


def test_a_bucket_is_fetched_and_opened_again_without_it(bucket, tmp_path):
    model = fetch(bucket, tmp_path / "cache", access_key_id="key", secret_access_key="secret")

    assert (tmp_path / "source/models/tiny-clip" / TEXT).read_bytes() == (
        model.root / TEXT
    ).read_bytes()
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert model == fetch(bucket, tmp_path / "cache", variables=nowhere)


def test_an_object_is_read_from_any_byte_while_it_is_the_same(bucket):
    content = bucket.get_object(Bucket="models", Key=f"some/tiny-clip/{TEXT}")["Body"].read()
    with contextlib.closing(S3Source(URI, access(bucket, variables=KEYS))) as source:
        with source.read(TEXT, 0, "") as whole:
            etag = whole.validator
            assert (whole.offset, whole.total) == (0, len(content))
            assert b"".join(whole.blocks) == content
        with source.read(TEXT, 1000, etag) as rest:
            assert (rest.offset, rest.total) == (1000, len(content))
            assert b"".join(rest.blocks) == content[1000:]
        put(bucket, TEXT, bent(content))
        with pytest.raises(ResourceError, match="replaced"), source.read(TEXT, 1000, etag):
            pass


def test_an_object_that_is_not_the_promised_one_is_named(bucket, tmp_path):
    good = (tmp_path / "source/models/tiny-clip" / VISION).read_bytes()
    put(bucket, VISION, bent(good))
    error = refused(bucket, tmp_path / "cache", variables=KEYS)
    assert (error.reason, error.file) == ("ChecksumMismatch", VISION)
    put(bucket, VISION, good)

    fetch(bucket, tmp_path / "cache", variables=KEYS)


def test_a_model_info_without_end_is_refused_within_bounds(bucket, tmp_path):
    put(bucket, "model_info.json", b" " * (20 * 1024 * 1024))

    error = refused(bucket, tmp_path / "cache", variables=KEYS)

    assert error.reason == "ModelInfoInvalid"
    assert "bytes" in error.message


def test_what_was_kept_of_an_object_is_not_fetched_again(bucket, tmp_path):
    content = (tmp_path / "source/models/tiny-clip" / TEXT).read_bytes()
    promise = FilePromise(len(content), hashlib.sha256(content).hexdigest())
    part = partial(staged(tmp_path / "incoming", TEXT, promise))
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:1000])
    progress = Progress()
    with contextlib.closing(S3Source(URI, access(bucket, variables=KEYS))) as source:
        found = fetch_missing(
            source, {TEXT: promise}, tmp_path / "incoming", progress, RetryPolicy()
        )

    assert found[TEXT].place.read_bytes() == content
    assert progress.snapshot().bytes_done == len(content)


def test_what_is_not_there_is_named(bucket, tmp_path):
    cache = tmp_path / "cache"
    for uri in ("s3://models/else", "s3://no-such-bucket/x"):
        assert refused(bucket, cache, uri, variables=KEYS).reason == "RepositoryNotFound"
    bucket.delete_object(Bucket="models", Key=f"some/tiny-clip/{TEXT}")
    error = refused(bucket, cache, variables=KEYS)
    assert (error.reason, error.file) == ("FileMissing", TEXT)


def test_an_address_where_nobody_answers_is_unreachable(bucket, tmp_path):
    error = refused(bucket, tmp_path, variables={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})

    assert error.reason == "SourceUnreachable"
    assert "AWS_ENDPOINT_URL" in error.remedy
    assert ".rs:" not in str(error)


def test_a_public_bucket_wants_no_keys_and_a_private_one_says_so(bucket, tmp_path):
    error = refused(bucket, tmp_path / "cache")
    assert error.reason == "Unauthorized"
    assert "is not public" in error.message

    for found in bucket.list_objects_v2(Bucket="models")["Contents"]:
        bucket.put_object_acl(Bucket="models", Key=found["Key"], ACL="public-read")

    fetch(bucket, tmp_path / "cache")


@pytest.mark.parametrize("uri", ["s3://", "s3://key:secret@bucket/x", "s3://bucket/x?versionId=1"])
def test_an_address_that_is_more_than_a_bucket_and_a_prefix_is_refused(uri):
    with pytest.raises(ResourceError) as caught:
        S3Source(uri, SourceAccess())

    assert caught.value.reason == "InvalidSpec"
    assert "secret@" not in str(caught.value)


class _Dripping(BaseHTTPRequestHandler):
    """Sends a file byte by byte, and never its end."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.send_header("ETag", '"x"')
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)

    def log_message(self, *_):
        """Quiet."""


def test_a_model_info_that_comes_byte_by_byte_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(s3, "DOCUMENT_S", 0.5)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Dripping)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        source = S3Source(URI, SourceAccess(variables={**KEYS, "AWS_ENDPOINT_URL": endpoint}))
        with pytest.raises(ResourceError) as caught:
            source.snapshot("")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert caught.value.reason == "SourceUnreachable"
