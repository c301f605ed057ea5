"""Exports of small models of every kind, served as what they are: a folder like any other."""

import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import repositories
import torch
from PIL import Image

from lumen_export.errors import BelowTheBar, ExportRefused
from lumen_export.graphs import OPSET
from lumen_export.label_files import LabelPlan
from lumen_export.run import ExportPlan, export, refuse_unusable
from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Accelerator, Family, OnnxEngine, Precision, Runtime
from lumen_manifest.spec.model_spec import LabelSetSpec, ModelSpec
from lumen_resources.errors import ChecksumMismatchError, LabelSetError
from lumen_resources.fetch.local_model import InPlace
from lumen_resources.fetch.recording import record
from lumen_resources.progress import Progress
from lumen_serving.backends.base import BackendSettings, noise
from lumen_serving.backends.onnx import OnnxBackend
from lumen_serving.backends.onnx_engines import EngineWish
from lumen_serving.media.text import Tokenizer
from lumen_terms.modality import Modality

torch.set_num_threads(2)
TOWERS = ("vision", "text")
THINGS = ["cat", "dog", "house"]
ALL = (Precision.FP32, Precision.FP16, Precision.INT8)


def verified_source(folder, name):
    """The repository `name`, as it was published, vouched for and opened for torch."""
    reference = repositories.write(folder, name)
    record(folder, Progress())
    return reference, opened(folder, name, Runtime.TORCH, Precision.FP32)


def opened(folder, name, runtime, precision, labels=()):
    spec = ModelSpec(name=name, runtime=runtime, precision=precision)
    sets = tuple(LabelSetSpec(name=label) for label in labels)
    config = ServerConfig(
        service="test", family=Family.CLIP, family_stated=False, model=spec, label_sets=sets
    )
    return InPlace(config, folder.with_name("cache"), folder).verify(Progress())


@pytest.fixture(scope="module")
def laion(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    reference, source = verified_source(folder / "source", "laion-vit-b-32")
    (folder / "things.json").write_text(json.dumps(THINGS))
    plan = ExportPlan(ALL, folder / "out" / "laion", labels=LabelPlan((folder / "things.json",)))
    return reference, source, export(source, plan, Progress())


def rows(path, items):
    session = ort.InferenceSession(
        str(path), disabled_optimizers=["FuseFp16InitializerToFp32NodeTransformer"]
    )
    (taken,) = session.get_inputs()
    (out,) = session.run(None, {taken.name: items})
    return out


def pictures(count, size):
    rng = np.random.default_rng(4)
    return rng.standard_normal((count, 3, size, size)).astype(np.float32)


def cosines(got, wanted):
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    return (got * wanted).sum(axis=1) / lengths


def test_the_folder_is_a_model_in_the_source_s_own_space(laion):
    _, source, made = laion

    model = opened(made.folder, "laion", Runtime.ONNX, Precision.FP32)

    assert model.embedding_space == source.embedding_space == made.embedding_space
    assert (model.preprocess, model.text, model.score) == (
        source.preprocess,
        source.text,
        source.score,
    )
    assert model.info.metadata.license == "mit"
    assert model.warnings == ()


@pytest.mark.parametrize("precision", ALL)
def test_graphs_give_the_vectors_of_the_source_s_own_library(laion, precision):
    reference, _, made = laion
    items = pictures(8, 64)
    half = precision is Precision.FP16

    got = rows(
        made.folder / f"onnx/vision.{precision.value}.onnx",
        items.astype(np.float16) if half else items,
    )

    least = 0.99999 if precision is not Precision.INT8 else 0.999
    assert cosines(got, reference.pictures(torch.from_numpy(items))).min() > least


def test_int8_gives_a_picture_the_same_bytes_in_any_company(laion):
    path, items = laion[2].folder / "onnx/vision.int8.onnx", pictures(8, 64)

    alone = np.concatenate([rows(path, items[n : n + 1]) for n in range(8)])

    for count in (2, 3, 5, 8):
        assert rows(path, items[:count]).tobytes() == alone[:count].tobytes()
    # A neighbour a thousand times as bright moves nothing either.
    loud = np.concatenate([items[:1], items[1:2] * 1000])
    assert rows(path, loud)[:1].tobytes() == alone[:1].tobytes()


def test_int8_files_are_near_a_quarter_of_the_size(laion):
    folder = laion[2].folder / "onnx"
    graph = onnx.load(folder / "text.int8.onnx")

    integers = [t for t in graph.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    weights = sum(np.prod(t.dims) for t in integers)
    assert weights > 0.9 * sum(np.prod(t.dims) for t in graph.graph.initializer)
    assert {o.domain for o in graph.opset_import} == {""}
    assert graph.opset_import[0].version == OPSET


def test_every_product_s_cosines_are_kept_beside_it(laion):
    made = laion[2]

    kept = json.loads((made.folder / "model_info.json").read_text())["extra_metadata"]["export"]

    found = {(p["precision"], p["engine"].split()[0]) for p in kept["proofs"]}
    assert found == {
        ("fp32", "openvino"),
        ("fp32", "onnxruntime"),
        ("fp16", "openvino"),
        ("fp16", "onnxruntime"),
        ("int8", "onnxruntime"),
    }
    for proof in kept["proofs"]:
        assert 0.999 < proof["images"] <= 1.000001
        assert 0.999 < proof["texts"] <= 1.000001


def test_label_sets_go_along_with_the_source_s_own_vectors(laion):
    reference, source, made = laion
    tokens, _ = Tokenizer.load(source).encode([f"a photo of a {thing}" for thing in THINGS])

    model = opened(made.folder, "laion", Runtime.ONNX, Precision.INT8, labels=("things",))

    (files,) = model.label_sets
    rows = np.load(files.embeddings)
    assert cosines(rows, reference.texts(torch.from_numpy(tokens))).min() > 0.999999
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert json.loads(files.labels.read_text()) == THINGS


def test_a_file_without_labels_is_named_as_it_was_given(laion, tmp_path):
    _, source, _ = laion
    bad = tmp_path / "bad.json"
    bad.write_text('{"a":')
    plan = ExportPlan((Precision.FP32,), tmp_path / "out", labels=LabelPlan((bad,)))

    with pytest.raises(LabelSetError) as refused:
        export(source, plan, Progress())

    assert str(bad) in refused.value.message


def test_what_is_at_the_goal_already_is_left_alone(laion, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")

    with pytest.raises(ExportRefused, match="nothing is overwritten"):
        export(laion[1], ExportPlan(ALL, tmp_path / "out"), Progress())

    assert [p.name for p in tmp_path.rglob("*")] == ["out", "thesis.txt"]


@pytest.fixture(scope="module")
def beside(laion, tmp_path_factory):
    """The same model with its weights beside its graphs, as above 2 GiB."""
    folder = tmp_path_factory.mktemp("beside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lumen_export.graphs.APART_FROM_BYTES", 0)
        made = export(laion[1], ExportPlan(ALL, folder / "out"), Progress())
    return made.folder


@pytest.mark.parametrize("precision", ALL)
def test_weights_beside_a_graph_are_vouched_for_and_computed_with(laion, beside, precision):
    data = {p.as_posix() for p in (Path("onnx") / f"{t}.{precision}.onnx.data" for t in TOWERS)}
    reference, _, _ = laion

    model = opened(beside, "laion", Runtime.ONNX, precision)
    info = json.loads((beside / "model_info.json").read_text())

    assert data <= info["extra_metadata"]["lumen"]["files"].keys()
    assert data <= set(info["runtimes"]["onnx"]["files"])
    assert {p.relative_to(beside).as_posix() for p in model.files.external_data} == data
    items = pictures(2, 64)
    half = precision is Precision.FP16
    got = rows(
        beside / f"onnx/vision.{precision}.onnx", items.astype(np.float16) if half else items
    )
    assert cosines(got, reference.pictures(torch.from_numpy(items))).min() > 0.999


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        (None, Precision.FP32),
        (OnnxEngine.ONNXRUNTIME, Precision.FP32),
        (OnnxEngine.ONNXRUNTIME, Precision.INT8),
    ],
)
def test_either_engine_serves_weights_that_lie_beside(laion, beside, engine, precision):
    model = opened(beside, "laion", Runtime.ONNX, precision)
    own = opened(laion[2].folder, "laion", Runtime.ONNX, precision)
    items = noise(model, 2)

    got, wanted = (embedded(each, EngineWish(engine, precision), items) for each in (model, own))

    for modality in Modality:
        assert cosines(got[modality], wanted[modality]).min() > 0.999999


def embedded(model, wish, items):
    with closing(OnnxBackend(wish)) as backend:
        backend.load(model, BackendSettings(Accelerator.CPU, 2))
        return {
            Modality.IMAGE: backend.embed_images(items[Modality.IMAGE]),
            Modality.TEXT: backend.embed_texts(items[Modality.TEXT]),
        }


def test_weights_beside_a_graph_that_changed_are_refused(beside, tmp_path):
    folder = shutil.copytree(beside, tmp_path / "out")
    data = folder / "onnx/vision.fp32.onnx.data"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)

    with pytest.raises(ChecksumMismatchError, match=r"vision\.fp32\.onnx\.data"):
        opened(folder, "laion", Runtime.ONNX, Precision.FP32)


@pytest.mark.parametrize("goal", ["nowhere", "."])
def test_a_link_is_not_written_over(tmp_path, goal):
    (tmp_path / "out").symlink_to(tmp_path / goal)

    with pytest.raises(ExportRefused, match="out is there already"):
        refuse_unusable(tmp_path / "out")


def test_a_place_below_a_file_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("mine")

    with pytest.raises(ExportRefused, match=r"file is not a folder"):
        refuse_unusable(tmp_path / "file" / "below" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)

    with pytest.raises(ExportRefused, match=r"closed may not be written to"):
        refuse_unusable(tmp_path / "closed" / "out")


def test_a_product_below_the_bar_is_not_kept(laion, tmp_path, monkeypatch):
    monkeypatch.setattr("lumen_export.run.write_int8", coarse)

    with pytest.raises(BelowTheBar, match=r"onnx int8 on .* a picture's vector .* 0.999 is needed"):
        export(laion[1], ExportPlan((Precision.INT8,), tmp_path / "out"), Progress())

    assert list(tmp_path.iterdir()) == []


def coarse(source: Path, path: Path) -> None:
    """An export gone wrong: the graph's weights are rounded until little is left of them."""
    graph = onnx.load(source)
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
            values = onnx.numpy_helper.to_array(tensor)
            rounded = np.round(values * 4).astype(np.float32) / 4
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    onnx.save(graph, path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("visual.proj", float("nan"), "image 0 of the golden set a vector that is not finite"),
        ("text_projection", float("inf"), "text 0 of the golden set a vector that is not finite"),
        ("text_projection", 0.0, "text 0 of the golden set a vector that is zero"),
    ],
)
def test_damaged_weights_are_refused_before_any_graph(tmp_path, name, value, said):
    folder = tmp_path / "source"
    repositories.write(folder, "laion-vit-b-32")
    weights = folder / "open_clip_model.safetensors"
    tensors = repositories.safetensors.torch.load_file(weights)
    tensors[name][:] = value
    repositories.safetensors.torch.save_file(tensors, weights)
    record(folder, Progress())
    source = opened(folder, "damaged", Runtime.TORCH, Precision.FP32)

    with pytest.raises(ExportRefused, match=said):
        export(source, ExportPlan((Precision.FP32,), tmp_path / "out"), Progress())

    assert not (tmp_path / "out").exists()


def test_a_signal_in_the_middle_leaves_nothing(laion, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lumen_export.run.write_int8", interrupted)

    with pytest.raises(KeyboardInterrupt):
        export(laion[1], ExportPlan(ALL, tmp_path / "out"), Progress())

    assert list(tmp_path.iterdir()) == []


# One of each kind of tower and tokenizer; the others differ in sizes and words alone.
KINDS = ("mobileclip2-apple", "siglip2", "nllb-clip-siglip", "pe-core", "chinese-clip", "m-clip")


@pytest.mark.parametrize("name", KINDS)
def test_models_of_every_kind_export_and_are_served_alike(name, tmp_path):
    _, source = verified_source(tmp_path / "source", name)

    made = export(source, ExportPlan((Precision.FP32,), tmp_path / "out"), Progress())

    model = opened(made.folder, name, Runtime.ONNX, Precision.FP32)
    assert model.modalities == source.modalities
    assert model.score == source.score
    for proof in made.proofs:
        assert set(proof.cosines) == source.modalities
        assert min(proof.cosines.values()) > 0.99999


def test_golden_pictures_are_ordinary_files(laion):
    with Image.open(laion[2].folder / "parity/0.png") as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (320, 240))
    vectors = np.load(laion[2].folder / "parity/vectors.npy")
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert Modality.IMAGE in laion[1].modalities
