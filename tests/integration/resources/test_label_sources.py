"""Label sets from a repository of their own: another hub's, another kind's, under its own names."""

import json
import shutil

import numpy as np
import pytest
from fault_server import FaultServer
from hub_server import HubServer, make_it_the_hub
from model_sources import a_config, bent
from tiny_models import CLASSES, TinyModel, write_model

from lumen_process.backoff import Backoff
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import (
    FetchOptions,
    fetch_and_verify,
    open_verified,
    verify_here,
)
from lumen_resources.fetch.recording import record
from lumen_resources.fetch.verify import ensure_unchanged
from lumen_resources.labels.label_sets import load_matrix
from lumen_resources.progress import Progress
from lumen_resources.sources.protocol import RetryPolicy, SourceAccess
from lumen_resources.termination import success_line

URI = "hf://me/tiny-clip"
TREE = "datasets/me/TreeOfLife"
LABELS, MATRIX = "embeddings/txt_emb_tiny-clip.json", "embeddings/txt_emb_tiny-clip.npy"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "source", TinyModel(label_sets={}))
    tree = tmp_path / "tree"
    (tree / "embeddings").mkdir(parents=True)
    (tree / LABELS).write_text(json.dumps(list(CLASSES)))
    rows = np.eye(32, len(CLASSES), dtype=np.float32)
    np.save(tree / MATRIX, rows)
    (tree / "embeddings" / "txt_emb_species.json").write_text(json.dumps(["another"]))
    (tree / "data.parquet").write_bytes(b"pictures, millions of them")
    with HubServer(tmp_path / "hub") as server:
        server.publish("models/me/tiny-clip", folder)
        server.publish(TREE, tree)
        make_it_the_hub(server, tmp_path, monkeypatch)
        yield server


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "tree"


def a_service(name: str = "TreeOfLife", uri: str = f"hf://{TREE}", model: str = URI, **changes):
    source = {"uri": uri, **changes.pop("source", {})}
    return a_config(model, labelSets=[{"name": name, "source": source}], **changes)


def fetch(config, cache):
    access = SourceAccess(retries=RetryPolicy(attempts=2, backoff=Backoff(0.002, 15)))
    return fetch_and_verify(config, cache, cache, Progress(), FetchOptions(access=access))


def fetch_from(config, source_dir):
    return fetch_and_verify(config, source_dir / "cache", source_dir, Progress())


def refused(config, cache) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        fetch(config, cache)
    return caught.value


def test_a_label_set_of_another_repository_is_fetched_by_the_name_it_was_published_under(
    hub, tree, tmp_path
):
    config = a_service()
    model = fetch(config, tmp_path / "cache")

    (found,) = model.label_sets
    assert (tree / LABELS).read_bytes() == found.labels.read_bytes()
    assert load_matrix(found.embeddings, 32, len(CLASSES)).shape == (len(CLASSES), 32)
    assert not any("parquet" in path for path in hub.requests)
    ensure_unchanged(model)
    asked = hub.asked()
    hub.close()
    assert model == fetch(config, tmp_path / "cache")
    assert model == open_verified(config, tmp_path / "cache", tmp_path)
    assert model == verify_here(config, tmp_path / "cache", tmp_path, Progress())
    assert asked == hub.asked()


def test_the_sets_own_name_comes_before_the_published_ones(hub, tree, tmp_path):
    (tree / "mine").mkdir()
    (tree / "mine" / "birds.json").write_text(json.dumps(["robin", "wren"]))
    hub.publish(TREE, tree)

    (found,) = fetch(a_service("birds"), tmp_path / "cache").label_sets

    assert json.loads(found.labels.read_bytes()) == ["robin", "wren"]
    assert found.embeddings is None


@pytest.mark.parametrize("path", [LABELS, MATRIX])
def test_a_damaged_file_of_a_label_set_is_named_and_the_next_run_completes(
    hub, tree, tmp_path, path
):
    commit = hub.repositories[TREE].names["main"]
    bad = bent((tree / path).read_bytes())
    hub.content.contents[f"{commit}/{path}"] = bad
    if path == LABELS:
        hub.bodies[f"/{TREE}/resolve/{commit}/{path}"] = bad

    error = refused(a_service(), tmp_path / "cache")

    assert (error.reason, error.file) == ("ChecksumMismatch", path)
    hub.content.contents.clear()
    hub.bodies.clear()
    fetch(a_service(), tmp_path / "cache")


def test_a_label_set_that_changed_after_it_was_verified_is_not_served(hub, tmp_path):
    model = fetch(a_service(), tmp_path / "cache")
    labels = model.label_sets[0].labels
    labels.write_bytes(bent(labels.read_bytes()))

    with pytest.raises(ResourceError) as caught:
        ensure_unchanged(model)
    assert caught.value.reason == "ChecksumMismatch"
    with pytest.raises(ResourceError):
        open_verified(a_service(), tmp_path / "cache", tmp_path)
    fetch(a_service(), tmp_path / "cache")


def test_a_pinned_label_set_stays_at_its_commit(hub, tree, tmp_path):
    first = hub.repositories[TREE].names["main"]
    newer = tmp_path / "newer"
    shutil.copytree(tree, newer)
    (newer / LABELS).write_text(json.dumps([*CLASSES[:-1], "another"]))
    hub.publish(TREE, newer)
    told = json.loads(success_line(fetch(a_service(), tmp_path / "a fourth")))["labelSets"]
    assert told == f"TreeOfLife={hub.repositories[TREE].names['main']}"
    pins = {"pinnedLabelSets": f"TreeOfLife={first}"}

    (pinned,) = fetch(a_service(**pins), tmp_path / "cache").label_sets
    (current,) = fetch(a_service(), tmp_path / "another").label_sets

    assert (tree / LABELS).read_bytes() == pinned.labels.read_bytes()
    assert (newer / LABELS).read_bytes() == current.labels.read_bytes()
    del hub.repositories[TREE].commits[first]
    assert refused(a_service(**pins), tmp_path / "a third").reason == "ChecksumMismatch"


def test_a_model_in_a_folder_may_have_its_labels_from_a_hub(hub, tmp_path):
    folder = tmp_path / "source" / "models" / "tiny-clip"

    model = fetch(a_service(model=folder.as_uri()), tmp_path / "cache")

    assert model.root == folder
    assert model.label_sets[0].labels.is_relative_to(tmp_path / "cache")


def test_a_repository_without_the_label_set_says_what_it_has(hub, tree, tmp_path):
    (tree / "other").mkdir()
    (tree / "other" / "txt_emb_tiny-clip.json").write_text("[]")
    hub.publish(TREE, tree)
    error = refused(a_service(), tmp_path / "cache")
    assert error.reason == "LabelSetInvalid"
    assert LABELS in error.message

    error = refused(a_service(uri=URI), tmp_path / "cache")
    assert error.reason == "LabelSetInvalid"
    assert "TreeOfLife.json" in error.remedy


@pytest.mark.parametrize("same", [True, False])
def test_the_models_token_goes_to_its_own_hub_alone(hub, tree, tmp_path, same):
    hub.accounts["s3cret"] = "reader"
    folder = write_model(tmp_path / "elsewhere", TinyModel(label_sets={"TreeOfLife": CLASSES}))
    with FaultServer(folder) as server:
        config = a_service(uri=f"hf://{TREE}" if same else server.url)
        access = SourceAccess(token="s3cret")
        options = FetchOptions(access=access)
        fetch_and_verify(config, tmp_path / "cache", tmp_path, Progress(), options)

        assert hub.tokens == {"Bearer s3cret"}
        assert server.tokens == set()


def test_a_label_set_in_a_folder_is_recorded_once_and_then_read_where_it_is(hub, tree, tmp_path):
    config = a_service("txt_emb_tiny-clip", uri=tree.as_uri())
    error = refused(config, tmp_path / "cache")
    assert (error.reason, "verify --write" in error.remedy) == ("ModelInfoInvalid", True)
    record(tree, Progress())

    model = fetch(config, tmp_path / "cache")

    (found,) = model.label_sets
    assert found.labels == tree / LABELS
    assert found.embeddings == tree / MATRIX
    assert model == open_verified(config, tmp_path / "cache", tmp_path)
    assert list((tmp_path / "cache").rglob("txt_emb*.npy")) == []
    (tree / MATRIX).write_bytes(bent((tree / MATRIX).read_bytes()))
    for again in (lambda: ensure_unchanged(model), lambda: fetch(config, tmp_path / "cache")):
        with pytest.raises(ResourceError) as caught:
            again()
        assert caught.value.reason == "ChecksumMismatch"


def test_a_label_set_may_lie_on_a_claim_and_its_own_field_is_named(hub, tree, tmp_path):
    record(tree, Progress())
    config = a_service("txt_emb_tiny-clip", uri="pvc://heads/tree")

    (found,) = fetch_from(config, tmp_path).label_sets

    assert found.labels == tree / LABELS
    with pytest.raises(ResourceError) as caught:
        fetch_from(a_service(uri="pvc://heads/../tree"), tmp_path)
    assert "spec.labelSets[TreeOfLife].source.uri: " in caught.value.message


def test_two_revisions_of_a_label_set_do_not_replace_each_other(hub, tree, tmp_path):
    first = hub.repositories[TREE].names["main"]
    newer = tmp_path / "newer"
    shutil.copytree(tree, newer)
    (newer / LABELS).write_text(json.dumps([*CLASSES[:-1], "another"]))
    hub.publish(TREE, newer)
    older = a_service(source={"revision": first})

    (before,), (now,) = (
        fetch(each, tmp_path / "cache").label_sets for each in (older, a_service())
    )

    assert (tree / LABELS).read_bytes() == before.labels.read_bytes()
    assert (newer / LABELS).read_bytes() == now.labels.read_bytes()
