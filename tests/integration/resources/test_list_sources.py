"""Lists of names from sources of their own: a hub, a web server, a folder, a claim."""

import json
from pathlib import Path

import pytest
from fault_server import FaultServer
from hub_server import HubServer, make_it_the_hub
from model_sources import a_config, bent
from tiny_models import CLASSES, TinyModel, write_model

from lumen_process.backoff import Backoff
from lumen_resources.errors import ChecksumMismatchError, ResourceError
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify, open_verified
from lumen_resources.labels.filters import kept
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.labels.name_lists import MAX_BYTES
from lumen_resources.model.lock_file import bytes_digest
from lumen_resources.progress import Progress
from lumen_resources.sources.protocol import RetryPolicy, SourceAccess
from lumen_resources.termination import success_line

LIST = "lists/park.txt"
TWO = f"{CLASSES[0]}\n{CLASSES[2]}\nnobody\n"


@pytest.fixture
def folder(tmp_path):
    """A folder that has the list, and nothing that says so."""
    place = tmp_path / "shelf" / LIST
    place.parent.mkdir(parents=True)
    place.write_text(TWO)
    return tmp_path / "shelf"


@pytest.fixture
def web(folder):
    with FaultServer(folder) as server:
        yield server


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    with HubServer(tmp_path / "hub") as server:
        server.publish("datasets/me/parks", folder, "spring")
        make_it_the_hub(server, tmp_path, monkeypatch)
        yield server


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "source", TinyModel(label_sets={"tiny": CLASSES})).as_uri()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def listing(model: str, uri: str, field: str = "includeFrom", **said: str):
    label_set = {"name": "tiny", field: {"uri": uri, **said.pop("list", {})}}
    return a_config(model, labelSets=[label_set], **said)


def fetch(config, cache, *, force: bool = False, source: Path | None = None):
    access = SourceAccess(retries=RetryPolicy(attempts=2, backoff=Backoff(0.002, 15)))
    options = FetchOptions(access=access, force=force)
    return fetch_and_verify(config, cache, source or cache, Progress(), options)


def names_of(model) -> set[str]:
    (files,) = model.label_sets
    labels = load_labels(files)
    mask = kept(labels, files).mask
    return {name for name, stays in zip(labels.names, mask.tolist(), strict=True) if stays}


def refused(config, cache, **changes) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        fetch(config, cache, **changes)
    return caught.value


@pytest.mark.parametrize("where", ["web", "hub", "hub at a tag", "folder", "claim"])
def test_a_list_of_any_source_is_what_the_labels_are_narrowed_by(
    web, hub, folder, model, cache, where
):
    uri = {
        "web": f"{web.url}/{LIST}",
        "hub": f"hf://datasets/me/parks/{LIST}",
        "hub at a tag": f"hf://datasets/me/parks@spring/{LIST}",
        "folder": (folder / LIST).as_uri(),
        "claim": f"pvc://parks/{LIST}",
    }[where]
    config = listing(model, uri)

    found = fetch(config, cache, source=folder)

    assert names_of(found) == {CLASSES[0], CLASSES[2]}
    assert any("'nobody'" in said for said in found.warnings)
    asked = hub.asked() + len(web.requests)
    hub.close()
    web.close()
    assert found.label_sets == open_verified(config, cache, folder).label_sets
    assert found == fetch(config, cache, source=folder)
    assert asked == hub.asked() + len(web.requests)


def test_a_list_may_leave_labels_out(web, model, cache):
    found = fetch(listing(model, f"{web.url}/{LIST}", "excludeFrom"), cache)

    assert names_of(found) == set(CLASSES) - {CLASSES[0], CLASSES[2]}


def test_a_list_that_changed_after_it_was_verified_is_not_read(web, model, cache):
    config = listing(model, f"{web.url}/{LIST}")
    (files,) = fetch(config, cache).label_sets
    path = files.include_names.path
    path.write_bytes(bent(path.read_bytes()))

    with pytest.raises(ChecksumMismatchError):
        kept(load_labels(files), files)
    assert names_of(fetch(config, cache)) == {CLASSES[0], CLASSES[2]}


def test_a_digest_of_the_manifest_is_insisted_on(web, model, cache):
    digest = bytes_digest(TWO.encode()).sha256
    fetch(listing(model, f"{web.url}/{LIST}", list={"sha256": digest}), cache)

    error = refused(listing(model, f"{web.url}/{LIST}", list={"sha256": "0" * 64}), cache)

    assert error.reason == "ChecksumMismatch"
    assert digest in error.message
    assert "spec.labelSets[tiny].includeFrom.sha256" in error.message


def test_later_pods_take_the_list_that_the_first_one_verified(web, hub, folder, model, tmp_path):
    for uri in (f"{web.url}/{LIST}", f"hf://datasets/me/parks/{LIST}"):
        (folder / LIST).write_text(TWO)
        hub.publish("datasets/me/parks", folder)
        told = json.loads(success_line(fetch(listing(model, uri), tmp_path / uri[:4])))
        pins = {"pinnedLabelSets": told["labelSets"]}
        assert told["labelSets"].startswith("tiny/include=")
        assert names_of(fetch(listing(model, uri, **pins), tmp_path / f"again {uri[:4]}"))
        (folder / LIST).write_text(CLASSES[1])
        hub.publish("datasets/me/parks", folder)

        if uri.startswith("http"):
            error = refused(listing(model, uri, **pins), tmp_path / "third")
            assert error.reason == "ChecksumMismatch"


def test_a_list_that_cannot_be_used_replaces_none(web, folder, model, cache):
    config = listing(model, f"{web.url}/{LIST}")
    fetch(config, cache)
    (folder / LIST).write_bytes(b"\xff\xfe")

    error = refused(config, cache, force=True)

    assert error.reason == "LabelSetInvalid"
    assert names_of(fetch(config, cache)) == {CLASSES[0], CLASSES[2]}


def test_a_list_is_bounded_before_it_is_read(web, folder, hub, model, cache):
    (folder / LIST).write_bytes(b"x\n" * (MAX_BYTES // 2 + 1))
    hub.publish("datasets/me/parks", folder)

    for uri in (f"{web.url}/{LIST}", f"hf://datasets/me/parks/{LIST}", (folder / LIST).as_uri()):
        assert f"more than {MAX_BYTES:,} bytes" in refused(listing(model, uri), cache).message
    assert hub.sent[LIST] == 0


def test_what_is_refused_names_the_lists_own_field(web, hub, model, cache):
    hub.repositories["datasets/me/parks"].private = True
    error = refused(listing(model, "hf://datasets/me/parks@gone/x.txt"), cache)
    assert error.reason == "RepositoryNotFound"

    error = refused(listing(model, f"{web.url}/nowhere.txt"), cache)
    assert error.reason == "FileMissing"
    assert "spec.labelSets[tiny].includeFrom.uri" in error.remedy


@pytest.mark.parametrize("path", ["/proc/self/environ", "/dev/stdin", "/sys/kernel/notes"])
def test_a_machine_does_not_tell_of_itself_by_way_of_a_list(model, cache, path):
    error = refused(listing(model, f"file://{path}"), cache)

    assert error.reason == "InvalidSpec"
