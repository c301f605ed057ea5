"""A model that is read where it lies: every damage is named, mending it is enough."""

import functools
import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from model_sources import TEXT, VISION, a_config, bent, edited_info
from tiny_models import TinyModel, a_bioclip, write_model

from lumen_cli.resources import command as resources
from lumen_resources.errors import ResourceError
from lumen_resources.fetch.fetch import fetch_and_verify, open_verified
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import Progress
from lumen_serving.media.text import Tokenizer


@pytest.fixture
def root(tmp_path):
    return write_model(tmp_path / "source")


def verify(root: Path, *labels: str, uri: str = "", **changes: object) -> VerifiedModel:
    config = a_config(uri or f"file://{root}", *labels, **changes)
    return fetch_and_verify(config, root.parent.parent / "cache", root.parent, Progress())


def reopened(root: Path, *labels: str) -> VerifiedModel:
    config = a_config(f"file://{root}", *labels)
    return open_verified(config, root.parent.parent / "cache", root.parent)


def refused(root: Path, *labels: str, **changes: object) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        verify(root, *labels, **changes)
    assert caught.value.remedy
    return caught.value


def record(root: Path) -> None:
    result = CliRunner().invoke(resources, ["verify", "--write", str(root)])
    assert result.exit_code == 0, result.output


def recorded(root: Path, path: str, content: object) -> None:
    """Write a file, an array or JSON, and its digest into the model info."""
    if isinstance(content, np.ndarray):
        np.save(root / path, content)
    else:
        (root / path).write_text(json.dumps(content))
    record(root)


def informed(root: Path, lumen: dict[str, object], **changes: object) -> None:
    with edited_info(root) as info:
        info.update(changes)
        info["extra_metadata"]["lumen"].update(lumen)


def led_out(root: Path) -> None:
    outside = root.parent / "outside.onnx"
    (root / VISION).rename(outside)
    (root / VISION).symlink_to(outside)


INFO, MATRIX = "model_info.json", "labels/tiny-classes.npy"
REFUSED = {
    "a file that is missing": (lambda root: (root / TEXT).unlink(), "FileMissing", TEXT),
    "a link that leads out of the folder": (led_out, "ModelInfoInvalid", "leads out"),
    "no model info": (lambda root: (root / INFO).unlink(), "ModelInfoInvalid", INFO),
    "half a model info": (lambda root: (root / INFO).write_bytes(b"{"), "ModelInfoInvalid", INFO),
    "a version of another form": (
        lambda root: informed(root, {}, version="one"),
        "ModelInfoInvalid",
        "version",
    ),
    "a tokenizer that does not load": (
        lambda root: recorded(root, "tokenizer.json", {"model": {}}),
        "TokenizerInvalid",
        "tokenizer.json",
    ),
    "graphs for pictures of another size": (
        lambda root: informed(root, {"preprocess": {"size": 64}}),
        "FilesInvalid",
        "[N, 3, 64, 64]",
    ),
    "graphs for texts of another length": (
        lambda root: informed(root, {"context_length": 77}),
        "FilesInvalid",
        "24 tokens",
    ),
    "graphs of another dimension": (
        lambda root: informed(root, {}, embedding_dim=33),
        "FilesInvalid",
        "[N, 33]",
    ),
    "a preprocessor config that contradicts the model info": (
        lambda root: recorded(root, "preprocessor_config.json", {"size": 32, "resample": 2}),
        "ModelInfoInvalid",
        "says interpolation bicubic, preprocessor_config.json says bilinear",
    ),
    **{
        f"{says} by {name}": (
            functools.partial(recorded, path=name, content=settings),
            "TokenizerInvalid",
            says,
        )
        for name in ("tokenizer_config.json", "special_tokens_map.json")
        for says, settings in (
            ("texts are lowered here", {"do_lower_case": False}),
            ("model_max_length 16; texts have 24 tokens here", {"model_max_length": 16}),
            ("'cat</w>', which is", {"pad_token": "cat</w>", "eos_token": "<|endoftext|>"}),
            ("are filled up with 0", {"pad_token": {"content": "<|startoftext|>"}}),
        )
    },
    **{
        f"a matrix: {name}": (
            functools.partial(recorded, path=MATRIX, content=matrix),
            "LabelSetInvalid",
            MATRIX[7:],
        )
        for name, matrix in {
            "rows": np.ones((5, 32), np.float32),
            "zero": np.zeros((6, 32), np.float32),
            "nan": np.full((6, 32), np.nan, np.float32),
            "dtype": np.ones((6, 32), np.float64),
            "vector": np.ones(6, np.float32),
            "pickle": np.array([{}] * 6, dtype=object),
        }.items()
    },
}


@pytest.mark.parametrize(("damage", "reason", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_with_a_folder_is_refused_by_its_reason_and_in_words(
    root, damage, reason, says
):
    damage(root)

    error = refused(root, "tiny-classes")

    assert error.reason == reason
    assert says in f"{error} {error.file}"


def test_files_stay_where_they_are_and_only_the_lock_goes_to_the_cache(root):
    model = verify(root, "tiny-classes")

    assert model.root == root
    assert [p.name for p in (root.parent.parent / "cache").rglob("*") if p.is_file()] == [
        "lumen.lock.json"
    ]
    assert model == reopened(root, "tiny-classes")


@pytest.mark.parametrize("uri", ["file://./tiny-clip", "file://tiny-clip", "pvc://claim/tiny-clip"])
def test_a_relative_source_and_a_claim_start_at_the_source_folder(root, uri):
    assert verify(root, uri=uri).root.resolve() == root


@pytest.mark.parametrize("damage", ["corrupt", "truncated", "swapped"])
def test_a_damaged_file_is_named_and_mending_it_is_enough(root, damage):
    good = (root / VISION).read_bytes()
    damaged = {"corrupt": bent(good), "truncated": good[:-1], "swapped": (root / TEXT).read_bytes()}
    (root / VISION).write_bytes(damaged[damage])

    error = refused(root)

    assert error.reason == "ChecksumMismatch"
    assert error.file == VISION
    assert (root / VISION).read_bytes() == damaged[damage]
    (root / VISION).write_bytes(good)
    verify(root)


def test_a_server_refuses_a_file_that_changed_after_it_was_verified(root):
    verify(root)
    stat = (root / VISION).stat()
    (root / VISION).write_bytes(bent((root / VISION).read_bytes()))
    os.utime(root / VISION, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    with pytest.raises(ResourceError) as caught:
        reopened(root)

    assert caught.value.reason == "ChecksumMismatch"


def test_a_folder_that_is_not_there_is_named(root):
    error = refused(root / "elsewhere")

    assert error.reason == "RepositoryNotFound"


@pytest.mark.parametrize("what", ["source", "cache"])
def test_a_path_that_no_engine_can_be_told_is_refused_by_name(tmp_path, what):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    root = write_model(tmp_path / "model")
    if what == "source":
        root = Path(shutil.copytree(root, odd / "tiny-clip"))
    config = a_config("file://./tiny-clip" if what == "source" else f"file://{root}")

    with pytest.raises(ResourceError, match="is not UTF-8") as caught:
        fetch_and_verify(config, odd if what == "cache" else tmp_path / "c", odd, Progress())

    assert caught.value.remedy == "Rename the folder."
    assert not (odd / "locks").exists()


def test_a_link_inside_the_folder_is_fine(root):
    (root / VISION).rename(root / "onnx" / "real.onnx")
    (root / VISION).symlink_to("real.onnx")

    verify(root)


def test_a_folder_that_proves_nothing_is_refused_until_its_digests_are_recorded(root):
    informed(root, {"files": {}})
    error = refused(root, "tiny-classes")
    assert error.reason == "ModelInfoInvalid"
    assert "verify --write" in error.remedy

    record(root)

    verify(root, "tiny-classes")


def test_recording_keeps_what_it_does_not_know(root):
    with edited_info(root) as info:
        info["extra_metadata"]["someone"] = {"else": 1}

    record(root)

    after = json.loads((root / "model_info.json").read_text())
    assert info["extra_metadata"]["someone"] == after["extra_metadata"]["someone"]
    assert info["extra_metadata"]["lumen"]["files"] == after["extra_metadata"]["lumen"]["files"]


@pytest.mark.parametrize(
    ("vision", "text"),
    [
        ("onnx/vision.onnx", "onnx/text.onnx"),
        ("onnx/image_encoder.onnx", "onnx/text_encoder.onnx"),
        ("visual.onnx", "textual.onnx"),
    ],
)
def test_older_layouts_work_once_their_digests_are_recorded(root, vision, text):
    (root / VISION).rename(root / vision)
    (root / TEXT).rename(root / text)
    with edited_info(root) as info:
        info["extra_metadata"]["lumen"]["files"] = {}
        info["runtimes"]["onnx"]["files"] = []

    record(root)

    assert verify(root).files.vision == root / vision


def test_a_label_set_that_is_not_there_is_an_error_and_none_is_fine(root):
    assert verify(root).label_sets == ()

    error = refused(root, "TreeOfLife-10M")

    assert error.reason == "LabelSetInvalid"
    assert "tiny-classes" in error.message


@pytest.mark.parametrize("published", [lambda m: m * 7, lambda m: np.ascontiguousarray(m.T)])
def test_a_matrix_that_is_turned_or_not_of_unit_rows_is_used_where_it_lies(root, published):
    recorded(root, MATRIX, published(np.load(root / MATRIX)))

    model = verify(root, "tiny-classes")

    (files,) = model.label_sets
    assert files.embeddings == root / MATRIX
    assert files == reopened(root, "tiny-classes").label_sets[0]
    assert not list(model.cache.rglob("*.npy"))


def test_under_pybioclips_preset_a_model_has_another_space_and_its_golden_set_is_left_out(tmp_path):
    root = write_model(tmp_path / "source", a_bioclip(image_size=224))
    spec = {"name": root.name, "runtime": "onnx", "source": {"uri": f"file://{root}"}}

    own, preset = (
        verify(root, family="bioclip", model=spec | {"preprocess": p})
        for p in ("model", "pybioclip")
    )

    assert own.parity is not None
    assert preset.parity is None
    assert any("golden set" in warning for warning in preset.warnings)
    assert own.embedding_space != preset.embedding_space


def test_vectors_that_are_not_shipped_are_computed_and_nothing_to_be_warned_of(root):
    with edited_info(root) as info:
        del info["datasets"]["tiny-classes"]["embeddings"]

    model = verify(root, "tiny-classes")

    assert model.label_sets[0].embeddings is None
    assert "computed from the labels" in model.label_sets[0].note
    assert model.warnings == ()


def test_a_matrix_of_another_model_is_not_used_and_said_so(root):
    recorded(root, MATRIX, np.ones((6, 512), np.float32))

    model = verify(root, "tiny-classes")

    assert model.label_sets[0].embeddings is None
    assert "512" in model.label_sets[0].note
    assert any("512" in warning for warning in model.warnings)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 2.0])
@pytest.mark.parametrize("row", [1, 33, 64])
def test_one_wrong_row_among_many_is_refused_by_row_and_label(tmp_path, row, value):
    names = [f"thing {i}" for i in range(65)]
    root = write_model(tmp_path / "source", TinyModel(label_sets={"tiny-classes": names}))
    matrix = np.load(root / MATRIX)
    matrix[row] = value
    recorded(root, MATRIX, matrix)

    error = refused(root, "tiny-classes")

    assert error.reason == "LabelSetInvalid"
    assert f"row {row} ('thing {row}' of tiny-classes) is " in error.message


def test_labels_that_are_written_alike_are_warned_of(tmp_path):
    names = ["crane", "hen", "crane", " "]
    root = write_model(tmp_path / "source", TinyModel(label_sets={"tiny-classes": names}))

    alike, empty = verify(root, "tiny-classes").warnings

    assert alike.startswith("tiny-classes: 1 label is written like an earlier one (first 'crane'")
    assert empty == "tiny-classes: The label of row 3 is empty."


@pytest.mark.parametrize(
    "location",
    [
        "weights.bin",
        "../model_info.json",
        "../tokenizer.json",
        "/etc/passwd",
        "VISION.fp32.onnx.data",
        "./vision.fp32.onnx.data",
        "%2e%2e/weights.bin",
        "lumen.lock.json",
        "",
    ],
)
def test_weights_of_a_constant_that_are_not_verified_are_refused(root, location):
    (root / "onnx" / "weights.bin").write_bytes(bytes(8))
    (root / f"{VISION}.data").write_bytes(bytes(8))
    weight = onnx.TensorProto(
        name="w", dims=[2], data_type=1, data_location=onnx.TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value=f"{Path(VISION).name}.data")
    weight.external_data.add(key="location", value=location)
    graph = onnx.load(root / VISION)
    graph.graph.node.append(onnx.helper.make_node("Constant", [], ["unused"], value=weight))
    (root / VISION).write_bytes(graph.SerializeToString())
    record(root)

    error = refused(root)

    assert error.reason == "FilesInvalid"
    assert "keeps weights in" in error.message


def test_a_preprocessor_config_decides_how_pictures_are_prepared(root):
    before = verify(root)
    informed(root, {"preprocess": None})
    document = {"size": {"height": 32, "width": 32}, "do_center_crop": False, "resample": 2}
    recorded(root, "preprocessor_config.json", document)

    model = verify(root)

    assert (model.preprocess.resize_mode, model.preprocess.interpolation) == ("squash", "bilinear")
    assert model.embedding_space != before.embedding_space
    (root / "preprocessor_config.json").unlink()
    assert refused(root).reason == "FileMissing"


def test_settings_of_the_tokenizer_as_clip_models_have_them_are_fine(root):
    settings = {
        "do_lower_case": True,
        "eos_token": {"content": "<|endoftext|>"},
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "<|endoftext|>",
    }
    recorded(root, "tokenizer_config.json", settings)

    verify(root)


BOM = b"\xef\xbb\xbf"
JSON_FILES = (
    "model_info.json",
    "open_clip_config.json",
    "tokenizer.json",
    "labels/tiny-classes.json",
)


@pytest.mark.parametrize("path", JSON_FILES)
def test_a_byte_order_mark_is_no_part_of_a_json_file(root, path):
    (root / "open_clip_config.json").write_text("{}")
    record(root)
    content = (root / path).read_bytes()
    (root / path).write_bytes(BOM + content)
    if path != "model_info.json":
        record(root)

    model = verify(root, "tiny-classes")

    assert Tokenizer.load(model).encode(["a cat"])
    assert load_labels(model.label_sets[0]).names[0] == "cat"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("path", JSON_FILES)
def test_a_json_file_in_another_encoding_is_told_so(root, path, encoding):
    (root / "open_clip_config.json").write_text("{}")
    if path == "model_info.json":
        record(root)
    (root / path).write_bytes((root / path).read_text().encode(encoding))
    if path != "model_info.json":
        record(root)

    assert "UTF-16 or UTF-32" in refused(root, "tiny-classes").message


def replaced_by(kind: str, path: Path) -> None:
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.relpath(path))
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "socket", "device"])
@pytest.mark.parametrize("path", ["model_info.json", VISION, "tokenizer.json"])
def test_what_is_no_file_is_refused_at_once(root, monkeypatch, path, kind):
    monkeypatch.chdir(root)
    replaced_by(kind, root / path)

    error = refused(root)

    assert error.reason in {"FileMissing", "FilesInvalid", "ModelInfoInvalid"}


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_the_lock_is_refused_at_once(root):
    lock = verify(root).cache / "lumen.lock.json"
    replaced_by("pipe", lock)

    with pytest.raises(ResourceError, match="a named pipe, where a file is expected"):
        reopened(root)


def test_a_filter_that_the_labels_do_not_know_is_refused_when_they_are_verified(tmp_path):
    root = write_model(tmp_path / "source", a_bioclip())
    sets = [{"name": "tiny-species", "include": ["class=Aves"]}]
    found = verify(root, family="bioclip", labelSets=sets)
    assert found.label_sets[0].include == ("class=Aves",)

    plain = write_model(tmp_path / "other", TinyModel())
    sets = [{"name": "tiny-classes", "include": ["class=Aves"]}]
    assert refused(plain, labelSets=sets).reason == "LabelSetInvalid"


def test_a_list_of_names_beside_the_manifest_narrows_a_set_and_says_what_it_found(tmp_path):
    root = write_model(tmp_path / "source", a_bioclip())
    (root.parent / "park.csv").write_text("scientificName\nErithacus rubecula L., 1758\nNo one\n")
    sets = [{"name": "tiny-species", "includeFrom": {"file": "park.csv"}}]

    model = verify(root, family="bioclip", labelSets=sets)

    assert any("1 of its 2 names are known" in warning for warning in model.warnings)
    assert any("Not known: 'No one'" in warning for warning in model.warnings)
    assert (
        "leads out"
        in refused(
            root,
            family="bioclip",
            labelSets=[sets[0] | {"includeFrom": {"file": "../../etc/passwd"}}],
        ).message
    )


def test_a_model_put_into_the_cache_by_hand_is_verified_against_its_model_info(root):
    cache = root.parent.parent
    config = a_config(None, "tiny-classes")
    model = fetch_and_verify(config, cache, cache, Progress())
    assert model.root == cache / "models" / "tiny-clip"
    assert model == fetch_and_verify(config, cache / "models", cache, Progress())

    (root / VISION).write_bytes(bent((root / VISION).read_bytes()))
    with pytest.raises(ResourceError) as caught:
        open_verified(config, cache, cache)
    assert caught.value.reason == "ChecksumMismatch"


def test_the_same_files_elsewhere_are_the_same_revision_and_space(root, tmp_path):
    twin = tmp_path / "twin" / "models" / "tiny-clip"
    shutil.copytree(root, twin)

    first, second = verify(root), verify(twin)

    assert (first.revision, first.digest, first.embedding_space) == (
        second.revision,
        second.digest,
        second.embedding_space,
    )
