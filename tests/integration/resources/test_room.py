"""A cache that is too small is known before the first byte, with figures."""

import pytest
from fault_server import FaultServer
from model_sources import a_config
from tiny_models import write_model

from lumen_resources.errors import DiskFullError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify
from lumen_resources.fetch.room import SLACK_BYTES, CacheRoom
from lumen_resources.progress import Progress


@pytest.fixture
def source(tmp_path):
    with FaultServer(write_model(tmp_path / "web")) as server:
        yield server


def fetch(source, cache, limit: int):
    options = FetchOptions(room=CacheRoom(cache, limit))
    config = a_config(source.url, "tiny-classes")
    return fetch_and_verify(config, cache, cache, Progress(), options)


def test_files_that_do_not_fit_are_refused_before_one_of_them_is_asked_for(source, tmp_path):
    cache = tmp_path / "cache"

    with pytest.raises(DiskFullError) as caught:
        fetch(source, cache, SLACK_BYTES)

    assert [path for path, _ in source.requests] == ["model_info.json"]
    assert f"may have {SLACK_BYTES:,} bytes" in caught.value.message
    needed = int(
        caught.value.remedy.partition("at least ")[2].partition(", and")[0].replace(",", "")
    )
    fetch(source, cache, needed)


def test_what_the_cache_holds_already_counts(source, tmp_path):
    cache = tmp_path / "cache"
    model = fetch(source, cache, 0)
    assert model == fetch(source, cache, 1)
    (cache / "else").write_bytes(bytes(4096))

    with pytest.raises(DiskFullError, match="more are needed"):
        CacheRoom(cache, SLACK_BYTES + model.bytes + 4096).refuse_more(cache, 1)
