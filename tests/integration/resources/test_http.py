"""What happens to a download when the source, the network or the cache fails."""

import gzip
import shutil
import threading
import time
import zlib
from pathlib import Path

import httpx
import pytest
from fault_server import FaultServer
from model_sources import TEXT, VISION, a_config, bent, edited_info
from tiny_models import TinyModel, write_model

from lumen_process.backoff import Backoff
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify, open_verified
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import Progress
from lumen_resources.sources import web
from lumen_resources.sources.open import open_source
from lumen_resources.sources.protocol import RangeRefusedError, RetryPolicy, SourceAccess


@pytest.fixture
def source(tmp_path):
    write_model(tmp_path / "source")
    with FaultServer(tmp_path / "source" / "models" / "tiny-clip") as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.mark.parametrize("start", ["6", "²", "9" * 5000])
def test_an_answer_that_starts_elsewhere_is_refused_however_it_says_so(start):
    request = httpx.Request("GET", "http://models.example.org/weights")
    said = {"Content-Range": f"bytes {start}-7/8".encode("latin-1")}

    with pytest.raises(RangeRefusedError, match="another range than 5-"):
        web._span(httpx.Response(206, headers=said, request=request), 5)


def fetch(
    uri: str | None, cache: Path, *, token: str = "", force: bool = False, **changes: object
) -> VerifiedModel:
    access = SourceAccess(token=token, retries=RetryPolicy(attempts=3, backoff=Backoff(0.002, 15)))
    options = FetchOptions(access=access, force=force)
    config = a_config(uri, "tiny-classes", **changes)
    return fetch_and_verify(config, cache, cache, Progress(), options)


def refused(uri: str, cache: Path, **options: object) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        fetch(uri, cache, **options)
    return caught.value


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and ".lumen" not in p.parts
    }


def test_a_model_is_fetched_verified_and_opened_again_without_the_source(source, cache):
    fetched = fetch(source.url, cache)
    source.close()

    assert fetched == fetch(source.url, cache)
    assert fetched == open_verified(a_config(source.url, "tiny-classes"), cache, cache)
    assert fetched.root == cache / "models" / "tiny-clip"
    assert (source.root / VISION).read_bytes() == (fetched.root / VISION).read_bytes()


def test_a_complete_cache_asks_the_source_nothing_and_when_forced_for_no_file_that_agrees(
    source, cache
):
    fetch(source.url, cache)
    source.requests.clear()

    fetch(source.url, cache)
    assert source.requests == []
    fetch(source.url, cache, force=True)

    assert [path for path, _ in source.requests] == ["model_info.json"]


@pytest.mark.parametrize("damage", ["corrupt", "truncated", "longer", "swapped"])
def test_a_damaged_file_at_the_source_is_named_and_the_next_run_completes(source, cache, damage):
    good = (source.root / VISION).read_bytes()
    source.contents[VISION] = {
        "corrupt": bent(good),
        "truncated": good[:-100],
        "longer": good + b"x",
        "swapped": (source.root / TEXT).read_bytes(),
    }[damage]

    error = refused(source.url, cache)

    assert error.reason == "ChecksumMismatch"
    assert error.file == VISION
    assert f"{len(source.contents[VISION]):,} bytes" in error.message
    assert not (cache / "models" / "tiny-clip" / "lumen.lock.json").exists()
    assert not (cache / "models" / "tiny-clip" / VISION).exists()

    source.contents.clear()
    fetch(source.url, cache)


def test_files_that_were_good_are_not_fetched_again_after_a_failure(source, cache):
    source.contents["tokenizer.json"] = b"{}"
    source.hold_after["tokenizer.json"] = 0
    incoming = cache / "models" / "tiny-clip" / ".lumen" / "incoming"

    def release_when_others_are_complete() -> None:
        while not all(list(incoming.glob(f"*/{Path(path).name}")) for path in (VISION, TEXT)):
            time.sleep(0.01)
        source.release.set()

    threading.Thread(target=release_when_others_are_complete, daemon=True).start()
    refused(source.url, cache)
    source.contents.clear()
    source.sent.clear()

    fetch(source.url, cache)

    assert source.sent[VISION] == source.sent[TEXT] == 0
    assert source.sent["tokenizer.json"] == (source.root / "tokenizer.json").stat().st_size


def test_a_failed_update_leaves_the_model_that_was_there_whole(source, cache, tmp_path):
    before = fetch(source.url, cache)
    kept = files_of(before.root)
    replacement = write_model(tmp_path / "newer", TinyModel(seed=8))
    shutil.copytree(replacement, source.root, dirs_exist_ok=True)
    source.contents[VISION] = bent((source.root / VISION).read_bytes())

    assert refused(source.url, cache, force=True).reason == "ChecksumMismatch"

    assert kept == files_of(before.root)
    assert before == open_verified(a_config(source.url, "tiny-classes"), cache, cache)
    source.contents.clear()
    after = fetch(source.url, cache, force=True)
    assert before.embedding_space != after.embedding_space
    assert after == open_verified(a_config(source.url, "tiny-classes"), cache, cache)


def test_a_file_that_the_source_lacks_is_missing_by_name(source, cache):
    (source.root / TEXT).unlink()

    error = refused(source.url, cache)

    assert error.reason == "FileMissing"
    assert error.file == TEXT
    assert "404" in error.message


def test_a_folder_without_a_model_info_is_no_repository(source, cache):
    error = refused(f"{source.url}/onnx", cache)

    assert error.reason == "RepositoryNotFound"


@pytest.mark.parametrize(
    "path", ["../escape.json", "/etc/passwd", "a\\b", "onnx/../../x", "lumen.lock.json", ".lumen/x"]
)
def test_a_model_info_that_names_files_outside_its_folder_is_refused(source, cache, path):
    with edited_info(source.root) as info:
        info["extra_metadata"]["lumen"]["files"][path] = {"size": 1, "sha256": "0" * 64}

    error = refused(source.url, cache)

    assert error.reason == "ModelInfoInvalid"
    assert source.requests == [("model_info.json", "")]


def test_a_source_that_proves_no_digest_is_refused_before_anything_is_fetched(source, cache):
    with edited_info(source.root) as info:
        del info["extra_metadata"]["lumen"]["files"][VISION]

    error = refused(source.url, cache)

    assert error.reason == "ModelInfoInvalid"
    assert VISION in error.message
    assert "verify --write" in error.remedy
    assert [path for path, _ in source.requests] == ["model_info.json"]


def test_a_source_that_fails_for_a_while_is_asked_again(source, cache):
    source.statuses["model_info.json"] = (503, 2)
    source.statuses[VISION] = (502, 2)

    fetch(source.url, cache)

    assert [p for p, _ in source.requests].count(VISION) == 3


def test_a_source_that_keeps_failing_is_given_up_within_bounds(source, cache):
    source.statuses[VISION] = (503, -1)

    error = refused(source.url, cache)

    assert error.reason == "SourceUnreachable"
    assert "503" in error.message
    assert [p for p, _ in source.requests].count(VISION) == 3


def test_a_proxy_is_asked_where_one_is_set_and_not_where_it_is_excepted(
    source, cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("HTTP_PROXY", source.url)
    monkeypatch.setenv("NO_PROXY", "localhost")

    fetch("http://models.example.org/", cache)

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert refused("http://models.example.org/", tmp_path / "other").reason == "SourceUnreachable"
    fetch(source.url.replace("127.0.0.1", "localhost"), tmp_path / "another")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_is_asked_for_this_machine(source, cache, monkeypatch, host):
    for variable in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")

    fetch(source.url.replace("127.0.0.1", host), cache)


def test_a_wrong_token_is_unauthorized_and_the_right_one_works(source, cache):
    source.token = "right"

    assert refused(source.url, cache).reason == "Unauthorized"
    wrong = refused(source.url, cache, token="wrong")
    assert wrong.reason == "Unauthorized"
    assert "wrong" not in str(wrong)
    fetch(source.url, cache, token="right")


def test_a_cut_connection_is_resumed_where_it_broke(source, cache):
    size = (source.root / TEXT).stat().st_size
    source.cut_after[TEXT] = (50_000, 2)

    fetch(source.url, cache)

    asked = [ranges for path, ranges in source.requests if path == TEXT]
    assert asked[0] == ""
    assert all(ranges.startswith("bytes=") for ranges in asked[1:])
    assert source.sent[TEXT] == size


def test_a_version_in_letters_that_no_request_carries_is_done_without(source, cache):
    source.etags[TEXT] = '"\u00e9"'
    source.cut_after[TEXT] = (50_000, 1)

    fetch(source.url, cache)

    assert source.sent[TEXT] == (source.root / TEXT).stat().st_size


def test_a_file_that_changed_between_two_tries_is_fetched_from_its_start(source, cache):
    assert refused_after_cuts(source, cache)
    source.etags[TEXT] = '"another"'
    source.sent.clear()

    fetch(source.url, cache)

    assert source.sent[TEXT] == (source.root / TEXT).stat().st_size


def refused_after_cuts(source: FaultServer, cache: Path) -> bool:
    """Cut the connection once, for a client that tries only once."""
    source.cut_after[TEXT] = (50_000, 1)
    access = SourceAccess(retries=RetryPolicy(attempts=1, backoff=Backoff(0.002, 15)))
    with pytest.raises(ResourceError):
        fetch_and_verify(
            a_config(source.url, "tiny-classes"),
            cache,
            cache,
            Progress(),
            FetchOptions(access=access),
        )
    return any((cache / "models" / "tiny-clip" / ".lumen" / "incoming").glob("*/*.part"))


def test_a_server_without_ranges_is_read_from_the_start(source, cache):
    source.ranges = False
    source.cut_after[TEXT] = (50_000, 1)

    fetch(source.url, cache)


def deflated(content: bytes) -> bytes:
    """What some servers call deflate: without zlib's own header."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def sent_as(source: FaultServer, path: str, encoding: str, content: bytes) -> None:
    source.contents[path] = content
    source.headers[path] = {"Content-Encoding": encoding}


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", deflated),
        ("identity", bytes),
    ],
)
@pytest.mark.parametrize("path", ["model_info.json", TEXT])
def test_a_source_that_compresses_all_the_same_is_unpacked(source, cache, path, encoding, pack):
    content = (source.root / path).read_bytes()
    sent_as(source, path, encoding, pack(content))

    assert (fetch(source.url, cache).root / path).read_bytes() == content


def test_a_compressed_file_that_broke_off_is_fetched_from_its_start(source, cache):
    content = (source.root / TEXT).read_bytes()
    sent_as(source, TEXT, "gzip", gzip.compress(content))
    source.cut_after[TEXT] = (50_000, 1)

    assert (fetch(source.url, cache).root / TEXT).read_bytes() == content


@pytest.mark.parametrize(
    ("headers", "content", "says"),
    [
        *(
            ({"Content-Encoding": encoding}, b"packed", f" is sent with Content-Encoding {said}")
            for encoding, said in (
                ("br", "'br'"),
                ("zstd", "'zstd'"),
                ("compress", "'compress'"),
                ("gzip, gzip", "'gzip, gzip'"),
                ("gzip", "gzip, and is not"),
            )
        ),
        (
            {"Content-Type": "text/html; charset=utf-8"},
            b"\n<!DOCTYPE html><html>Please log in</html>",
            " answers with a web page instead of the file",
        ),
    ],
)
@pytest.mark.parametrize("path", ["model_info.json", TEXT])
def test_what_is_sent_in_place_of_a_file_is_named(source, cache, path, headers, content, says):
    source.contents[path], source.headers[path] = content, headers

    error = refused(source.url, cache)

    assert error.reason == "SourceUnreachable"
    assert f"{source.url}/{path}{says}" in error.message
    assert "token" in error.remedy or "compression" in error.remedy


@pytest.mark.parametrize("path", ["model_info.json", TEXT])
def test_a_file_that_unpacks_without_end_is_refused_within_bounds(source, cache, path):
    sent_as(source, path, "gzip", gzip.compress(b"[" + bytes(64 * 1024 * 1024)))

    error = refused(source.url, cache)

    assert error.reason in {"ModelInfoInvalid", "ChecksumMismatch"}
    kept = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file())
    assert kept < 4 * 1024 * 1024


def test_a_file_that_is_only_called_a_web_page_is_taken(source, cache):
    source.headers[TEXT] = {"Content-Type": "text/html"}

    fetch(source.url, cache)


def test_a_range_that_was_not_asked_for_is_not_taken(source, cache):
    assert refused_after_cuts(source, cache)
    source.headers[TEXT] = {"Content-Range": "bytes 7-9/10"}

    model = fetch(source.url, cache)

    assert (model.root / TEXT).read_bytes() == (source.root / TEXT).read_bytes()


def test_a_damaged_beginning_kept_from_an_earlier_run_is_fetched_anew(source, cache):
    source.sends_etag = False
    refused_after_cuts(source, cache)
    part = next((cache / "models" / "tiny-clip" / ".lumen" / "incoming").glob("*/*.part"))
    part.write_bytes(bent(part.read_bytes()))

    model = fetch(source.url, cache)

    assert (model.root / TEXT).read_bytes() == (source.root / TEXT).read_bytes()


def test_a_file_that_is_damaged_in_the_cache_is_fetched_anew_and_no_other(source, cache):
    model = fetch(source.url, cache)
    (model.root / TEXT).write_bytes(bent((model.root / TEXT).read_bytes()))
    with pytest.raises(ResourceError) as caught:
        open_verified(a_config(source.url, "tiny-classes"), cache, cache)
    assert caught.value.reason == "ChecksumMismatch"
    source.sent.clear()

    fetch(source.url, cache)

    assert source.sent[TEXT] == (source.root / TEXT).stat().st_size
    assert source.sent[VISION] == 0


def test_a_damaged_cache_without_its_source_says_what_cannot_be_reached(source, cache):
    model = fetch(source.url, cache)
    (model.root / TEXT).unlink()
    source.close()

    assert refused(source.url, cache).reason == "SourceUnreachable"
    assert (model.root / VISION).exists()


def test_a_pinned_revision_refuses_what_the_source_has_become(source, cache, tmp_path):
    first = fetch(source.url, cache)
    shutil.copytree(
        write_model(tmp_path / "newer", TinyModel(seed=8)), source.root, dirs_exist_ok=True
    )
    shutil.rmtree(cache)
    pins = {"pinnedRevision": first.revision, "pinnedDigest": first.digest}

    assert refused(source.url, cache, **pins).reason == "ChecksumMismatch"


def test_another_embedding_space_than_expected_is_refused(source, cache):
    model = {"name": "tiny-clip", "runtime": "onnx", "source": {"uri": source.url}}
    expected = {**model, "expectEmbeddingSpace": "0" * 64}

    assert refused(source.url, cache, model=expected).reason == "FilesInvalid"


def test_a_source_of_an_unknown_kind_says_which_are_known():
    with pytest.raises(ResourceError) as caught:
        open_source("ftp://host/x", SourceAccess())
    error = caught.value

    assert error.reason == "InvalidSpec"
    assert "https://" in error.remedy


def test_the_files_of_two_label_sets_that_are_the_same_are_fetched_once(source, cache):
    shutil.copytree(source.root / "labels", source.root / "twin")
    with edited_info(source.root) as info:
        files = info["extra_metadata"]["lumen"]["files"]
        twins = {
            name: f"twin/tiny-classes.{suffix}"
            for name, suffix in (("labels", "json"), ("embeddings", "npy"))
        }
        files.update({twin: files[twin.replace("twin", "labels")] for twin in twins.values()})
        info["datasets"]["twin"] = twins
    config = a_config(source.url, "tiny-classes", "twin")

    model = fetch_and_verify(config, cache, cache, Progress())

    assert all(files.labels.is_file() for files in model.label_sets)
    fetched = [p for p, _ in source.requests if p.endswith("tiny-classes.npy")]
    assert len(fetched) == 1
