"""model_info.json: which documents are accepted, and what the refusal of the others says."""

import json
import tracemalloc

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from model_sources import an_info_document

from lumen_resources.errors import ModelInfoError
from lumen_resources.fetch.listing import list_cache
from lumen_resources.model.model_info import MAX_BYTES, ModelInfo, parse, relative_path

A_DIGEST = "ab" * 32


def parsed(**changes: object) -> ModelInfo:
    return parse(json.dumps(an_info_document(**changes)).encode())[0]


def refusal(**changes: object) -> str:
    with pytest.raises(ModelInfoError) as caught:
        parsed(**changes)
    return caught.value.message


@pytest.mark.parametrize(
    "field", ["name", "version", "description", "model_type", "source", "runtimes"]
)
def test_a_required_field_that_is_missing_is_named(field):
    document = an_info_document()
    del document[field]

    with pytest.raises(ModelInfoError, match=f"{field}: Field required"):
        parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("version", "1.0"),
        ("version", "v1.0.0"),
        ("description", ""),
        ("description", "x" * 501),
        ("source", {"format": "github", "repo_id": "a/b"}),
        ("runtimes", {}),
        ("runtimes", {"onnx": {}}),
        ("embedding_dim", 0),
        ("embedding_dim", 100_001),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_field(field, value):
    assert field in refusal(**{field: value})


def test_every_problem_is_told_at_once():
    message = refusal(name="", version="x", embedding_dim=0)

    assert all(field in message for field in ("name", "version", "embedding_dim"))


def test_unknown_keys_are_dropped_with_a_warning_and_refused_when_strict():
    document = an_info_document(colour="red", metadata={"license": "MIT", "mood": "good"})
    content = json.dumps(document).encode()

    info, warnings = parse(content)

    assert info == parsed(metadata={"license": "MIT"})
    named = {warning.split("unknown key ")[1].split()[0] for warning in warnings}
    assert named == {"colour", "metadata.mood"}
    with pytest.raises(ModelInfoError, match="colour"):
        parse(content, strict=True)


def test_an_unknown_key_does_not_hide_a_wrong_value():
    message = refusal(colour="red", version="x")

    assert "version" in message
    assert "colour" not in message


def test_extra_metadata_is_free_but_for_our_part():
    info = parsed(extra_metadata={"anything": [1, 2], "lumen": {"logit_scale": 42.5}})

    assert info.lumen.logit_scale == 42.5
    assert "logit_scale" in refusal(extra_metadata={"lumen": {"logit_scale": 0}})


def test_files_may_be_listed_per_device():
    info = parsed(
        runtimes={
            "rknn": {"available": True, "files": {"rk3588": ["a.rknn"], "rk3566": ["b.rknn"]}}
        }
    )

    assert info.runtimes["rknn"].all_files() == ("a.rknn", "b.rknn")


@pytest.mark.parametrize(
    ("path", "labels", "embeddings"),
    [
        ("ImageNet_1k.npz", "ImageNet_1k.npz", "ImageNet_1k.npz"),
        ("TreeOfLife-10M.npy", "TreeOfLife-10M.json", "TreeOfLife-10M.npy"),
        ("labels.json", "labels.json", None),
    ],
)
def test_an_older_dataset_is_one_path(path, labels, embeddings):
    dataset = parsed(datasets={"set": path}).datasets["set"]

    assert (labels, embeddings) == (dataset.labels, dataset.embeddings)


def test_a_parity_input_is_either_an_image_or_a_text():
    for wrong in ({}, {"image": "a.png", "text": "a"}):
        parity = {"inputs": [wrong], "vectors": "v.npy"}
        assert "parity" in refusal(extra_metadata={"lumen": {"parity": parity}})


@pytest.mark.parametrize(
    "path",
    [
        *("", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\\b", "C:/a", "a\0b", "a\nb", "~/a"),
        *("Lumen.Lock.json", "PREPARED/x"),
        *("lumen.lock.json", ".lumen/x", "prepared/x", "codes/x", "x" * 256, "a/" * 600 + "b"),
    ],
)
def test_a_path_that_could_leave_the_folder_or_hit_our_own_files_is_refused(path):
    files = {path: {"size": 1, "sha256": A_DIGEST}}

    assert "files" in refusal(extra_metadata={"lumen": {"files": files}})


@given(st.text(max_size=60))
def test_a_path_that_is_accepted_stays_inside_its_folder(path):
    try:
        relative_path(path)
    except ValueError:
        return
    assert ".." not in path.split("/")
    assert not path.startswith("/")
    assert "\\" not in path


@given(st.binary(max_size=200))
@example(b" " * (MAX_BYTES + 1))
def test_no_bytes_make_it_fail_otherwise(content):
    with pytest.raises(ModelInfoError):
        parse(content)


@pytest.mark.parametrize(
    "flood",
    [
        {f"key{i}": 1 for i in range(1001)},
        {"runtimes": {"onnx": {"available": True, "files": ["a"] * 10_001}}},
        {"runtimes": {"onnx": {"available": True, "files": {f"d{i}": [] for i in range(65)}}}},
    ],
    ids=["unknown keys", "files", "devices"],
)
def test_a_flood_of_entries_is_refused_and_not_warned_of_one_by_one(flood):
    content = orjson.dumps({**an_info_document(), **flood})

    with pytest.raises(ModelInfoError) as refused:
        parse(content)
    assert len(str(refused.value)) < 3000


@pytest.mark.parametrize(
    "flood",
    [
        {"extra_metadata": {"lumen": {"files": {f"f{i}": 0 for i in range(100_000)}}}},
        {f"key{i}": 1 for i in range(100_000)},
    ],
    ids=["files", "unknown keys"],
)
def test_a_flood_of_wrong_fields_is_counted_and_not_described_one_by_one(flood):
    content = orjson.dumps({**an_info_document(), **flood})

    tracemalloc.start()
    with pytest.raises(ModelInfoError, match="100,000 fields that are unknown or wrong"):
        parse(content)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Descriptions would take 120 MiB.
    assert most_bytes < 40 << 20


def test_metadata_that_nests_without_end_is_refused():
    free = orjson.loads("[" * 900 + "]" * 900)

    assert "nested more than 100 deep" in refusal(extra_metadata={"free": free})


def test_a_key_without_end_is_cut_in_its_warning():
    content = orjson.dumps({**an_info_document(), "k" * 1_000_000: 1})

    (warning,) = parse(content)[1]
    assert len(warning) < 300


def test_a_lock_that_points_at_no_place_is_a_problem_of_its_folder_alone(tmp_path):
    for name, root in (("bad", "a" * 100_000), ("good", None)):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        lock = {"source": "s", "revision": "r", "root": root, "digest": "0" * 64, "files": {}}
        (folder / "lumen.lock.json").write_bytes(orjson.dumps(lock))

    bad, good = list_cache(tmp_path)

    assert "File name too long" in bad.problem
    assert (good.name, good.problem) == ("good", "")
