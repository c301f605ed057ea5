"""A golden set that is recorded where a model brings none: what it judges, and what it does not."""

import json
import shutil

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from serving_servers import a_config
from tiny_models import TinyModel, ignore_input, text_graph, vision_graph, write_model

from lumen_cli.resources import command as resources
from lumen_manifest.spec.enums import Precision, Tower
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.fetch.golden_set import OF_ANOTHER_SPACE, OF_OTHER_FILES
from lumen_resources.progress import Progress
from lumen_serving.errors import ParityFailed
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.load import warm_up

VISION = "onnx/vision.fp32.onnx"


@pytest.fixture
def root(tmp_path):
    """A prepared folder without a golden set."""
    return write_model(tmp_path / "source", TinyModel(parity=False, label_sets={}))


def record(root, *options):
    done = CliRunner().invoke(resources, ["verify", "--write", str(root), *options])
    assert done.exit_code == 0, done.output
    return done.stderr


def started(root, **model):
    spec = {"name": root.name, "runtime": "onnx", "source": {"uri": root.as_uri()}, **model}
    config = a_config(root, model=spec)
    cache = root.parent / "cache"
    fetch_and_verify(config, cache, root, Progress())
    env = {"LUMEN_CACHE_DIR": str(cache), "LUMEN_SOURCE_DIR": str(root)}
    warm = warm_up(config, ServerSettings.from_environment(env))
    warm.backend.close()
    return warm


def parity_of(root):
    return json.loads((root / "model_info.json").read_text())["extra_metadata"]["lumen"].get(
        "parity"
    )


def other_weights(root, seed=99):
    """Another model of the same shapes, in the place of the first."""
    onnx.save(vision_graph(TinyModel(seed=seed)), root / VISION)
    onnx.save(text_graph(TinyModel(seed=seed)), root / "onnx/text.fp32.onnx")


def test_a_prepared_folder_gets_one_by_its_own_graphs(root):
    said = record(root)

    assert "A golden set was recorded: the vectors of onnxruntime" in said
    assert "fp32 on cpu" in said
    vectors = np.load(root / "parity/vectors.npy")
    assert vectors.shape == (len(parity_of(root)["inputs"]), 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert started(root).parity_cosine > 0.99999


def test_none_is_recorded_where_none_is_wanted(root):
    record(root, "--no-golden")

    assert parity_of(root) is None
    assert not (root / "parity").exists()
    assert started(root).parity_cosine is None


def test_recording_twice_keeps_the_first(root):
    record(root)
    before = (root / "parity/vectors.npy").stat().st_ino

    said = record(root)

    assert "golden set" not in said
    assert (root / "parity/vectors.npy").stat().st_ino == before


def test_files_of_another_precision_are_compared_with_it(root):
    record(root)
    shutil.copy(root / "onnx/text.fp32.onnx", root / "onnx/text.fp16.onnx")
    onnx.save(vision_graph(TinyModel(seed=99)), root / "onnx/vision.fp16.onnx")
    record(root)

    with pytest.raises(ParityFailed) as refused:
        started(root, precision=Precision.FP16)

    assert ".png has cosine" in refused.value.message
    assert "onnxruntime" in refused.value.message
    assert "fp32 on cpu" in refused.value.message
    assert str(root / "parity") in refused.value.remedy
    assert started(root).parity_cosine > 0.99999


def test_other_weights_are_not_judged_by_it_and_get_their_own(root):
    record(root)
    before = np.load(root / "parity/vectors.npy")
    other_weights(root)
    record(root, "--no-golden")

    unjudged = started(root)
    said = record(root)

    assert unjudged.parity_cosine is None
    assert OF_OTHER_FILES in unjudged.warnings
    assert "A golden set was recorded" in said
    assert not np.allclose(np.load(root / "parity/vectors.npy"), before)
    assert started(root).parity_cosine > 0.99999


@pytest.mark.parametrize(
    ("section", "changed"),
    [("preprocess", {"mean": [0.1, 0.2, 0.3]}), ("text", {"cleaning": "none"})],
)
def test_other_rules_are_not_judged_by_it(root, section, changed):
    record(root)
    path = root / "model_info.json"
    info = json.loads(path.read_text())
    lumen = info["extra_metadata"]["lumen"]
    lumen[section] = {**lumen.get(section, {}), **changed}
    path.write_text(json.dumps(info))

    warm = started(root)

    assert warm.parity_cosine is None
    assert OF_OTHER_FILES in warm.warnings


def test_another_way_to_prepare_pictures_is_not_judged_by_it(tmp_path):
    spec = TinyModel(parity=False, label_sets={}, image_size=224)
    root = write_model(tmp_path / "source", spec)
    record(root)

    warm = started(root, preprocess="pybioclip")

    assert warm.parity_cosine is None
    assert OF_ANOTHER_SPACE in warm.warnings
    assert started(root).parity_cosine > 0.99999


@pytest.mark.parametrize("tower", Tower)
def test_one_tower_alone_is_compared_with_its_half(root, tower):
    record(root)

    assert started(root, towers=(tower,)).parity_cosine > 0.99999


def test_files_of_others_are_not_written_over(root):
    (root / "parity").mkdir()
    (root / "parity" / "vectors.npy").write_bytes(b"mine")

    said = record(root)

    assert "No golden set was recorded" in said
    assert "is there already" in said
    assert (root / "parity" / "vectors.npy").read_bytes() == b"mine"
    assert started(root).parity_cosine is None


def test_one_that_was_removed_is_recorded_anew(root):
    record(root)
    shutil.rmtree(root / "parity")

    assert "A golden set was recorded" in record(root)
    assert started(root).parity_cosine > 0.99999


def test_a_model_that_answers_the_same_for_everything_records_none(root):
    ignore_input(root)

    said = record(root)

    assert "No golden set was recorded: Different pictures have the same" in said
    assert parity_of(root) is None


def test_the_owner_s_own_set_stays(tmp_path):
    root = write_model(tmp_path / "source", TinyModel(label_sets={}))
    before = parity_of(root)

    record(root)

    assert parity_of(root) == before
