"""One name, several models: what two services ask for stays apart in the cache they share."""

import threading

import pytest
from fault_server import FaultServer
from model_sources import a_config
from tiny_models import TinyModel, write_model

from lumen_resources.errors import ResourceNotFoundError
from lumen_resources.fetch.fetch import fetch_and_verify, open_verified, verify_here
from lumen_resources.progress import Progress


@pytest.fixture
def sources(tmp_path):
    """Two models that are called the same, at two addresses."""
    with (
        FaultServer(write_model(tmp_path / "one", TinyModel(seed=1))) as one,
        FaultServer(write_model(tmp_path / "two", TinyModel(seed=2))) as two,
    ):
        yield one, two


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def fetch(config, cache):
    return fetch_and_verify(config, cache, cache, Progress())


def test_two_sources_of_one_name_have_a_folder_each(sources, cache):
    configs = [a_config(source.url, "tiny-classes") for source in sources]

    first, second = (fetch(each, cache) for each in configs)

    assert first.root == cache / "models" / "tiny-clip"
    assert second.root.name.startswith("tiny-clip@")
    assert first.digest != second.digest
    for source in sources:
        source.close()
    for config, model in zip(configs, (first, second), strict=True):
        assert model == open_verified(config, cache, cache)
        assert model == verify_here(config, cache, cache, Progress())
        assert model == fetch(config, cache)


def test_fetching_at_the_same_time_mixes_nothing(sources, cache):
    one, _ = sources
    one.hold_after["onnx/vision.fp32.onnx"] = 1
    found = {}

    def bring(source):
        found[source] = fetch(a_config(source.url, "tiny-classes"), cache)

    threads = [threading.Thread(target=bring, args=(each,)) for each in sources]
    threads[0].start()
    assert one.held.wait(60)
    threads[1].start()
    one.release.set()
    for thread in threads:
        thread.join(120)

    assert len({model.root for model in found.values()}) == 2
    for source, model in found.items():
        assert model == open_verified(a_config(source.url, "tiny-classes"), cache, cache)


def test_another_revision_is_another_model_too(sources, cache):
    one, _ = sources
    before = fetch(a_config(one.url, "tiny-classes"), cache)

    with pytest.raises(ResourceNotFoundError, match="revision"):
        fetch(asking(one.url, "1234567"), cache)
    same = fetch(asking(one.url, before.revision), cache)

    assert same.root == before.root
    assert before == open_verified(a_config(one.url, "tiny-classes"), cache, cache)


def asking(uri: str, revision: str):
    model = {"name": "tiny-clip", "runtime": "onnx", "source": {"uri": uri, "revision": revision}}
    return a_config(uri, "tiny-classes", model=model)


def test_a_service_that_names_no_source_does_not_serve_another_ones_files(sources, cache):
    one, _ = sources
    named = {"name": "me/tiny-clip", "runtime": "onnx"}
    fetch(a_config(None, model={**named, "source": {"uri": one.url}}), cache)

    with pytest.raises(ResourceNotFoundError, match="tiny-clip@"):
        open_verified(a_config(None, model=named), cache, cache)
