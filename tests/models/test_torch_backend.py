"""The torch backend on a CPU: unit rows, one item's bytes, towers alone, and what it refuses."""

import json
import pickle
import zipfile

import numpy as np
import pytest
import repositories
import torch
from verified_repositories import derived, verified

from lumen_manifest.spec.enums import Accelerator, Precision
from lumen_resources.errors import (
    ChecksumMismatchError,
    ResourceValidationError,
    RuntimeNotSupportedError,
)
from lumen_serving.backends.base import BackendSettings, noise
from lumen_serving.backends.torch.backend import TorchBackend
from lumen_serving.backends.torch.library import TorchTower, bytes_of, parameters_without_memory
from lumen_serving.backends.torch.text_encoders import encoder_config
from lumen_serving.backends.torch.towers import open_towers
from lumen_serving.errors import BackendUnavailable, DeviceMismatch
from lumen_terms.modality import Modality

CPU = BackendSettings(Accelerator.CPU, threads=2)
NAME = "openai-quickgelu"
ROW = repositories.ROWS[NAME]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repositories") / NAME
    return folder, repositories.write(folder, NAME)


@pytest.fixture
def changed(published, tmp_path):
    """The repository's files, to be changed: a folder and how its model is verified."""
    folder, reference = published
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path, lambda: verified(tmp_path, ROW, reference.dim)


def loaded(model, settings=CPU):
    backend = TorchBackend()
    backend.load(model, settings)
    return backend


def reference_rows(reference, images, tokens):
    mean, std = (np.float32(ROW.picture[key]) for key in ("mean", "std"))
    floats = ((images.astype(np.float32) / np.float32(255)) - mean) / std
    pictures = torch.from_numpy(floats.transpose(0, 3, 1, 2).copy())
    return reference.pictures(pictures).numpy(), reference.texts(torch.from_numpy(tokens)).numpy()


@pytest.mark.parametrize(
    ("precision", "computed", "least"),
    [(Precision.FP32, "fp32", 0.999999), (Precision.BF16, "bf16", 0.999),
     (Precision.FP16, "fp32", 0.999999)],
)  # fmt: skip
def test_pictures_and_texts_become_the_references_unit_rows(published, precision, computed, least):
    folder, reference = published
    model = verified(folder, ROW, reference.dim, precision=precision)
    items = noise(model, 3)

    backend = loaded(model)
    got = (backend.embed_images(items[Modality.IMAGE]), backend.embed_texts(items[Modality.TEXT]))

    wanted = reference_rows(reference, items[Modality.IMAGE], items[Modality.TEXT])
    for rows, own in zip(got, wanted, strict=True):
        assert rows.dtype == np.float32
        assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6
        assert (rows * own).sum(axis=1).min() > least
    report = backend.report()
    assert (report.device, report.precision, report.dim) == ("cpu", computed, reference.dim)
    assert report.details["files"] == precision.value
    backend.close()


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_an_items_bytes_are_the_same_alone_and_in_any_batch(published, precision):
    folder, reference = published
    model = verified(folder, ROW, reference.dim, precision=precision)
    backend, items = loaded(model), noise(model, 13)

    for embed, rows in (
        (backend.embed_images, items[Modality.IMAGE]),
        (backend.embed_texts, items[Modality.TEXT]),
    ):
        alone = np.concatenate([embed(rows[at : at + 1]) for at in range(len(rows))])
        for size in (2, 3, 4, 5, 8, 13):
            assert embed(rows[:size]).tobytes() == alone[:size].tobytes()
        assert embed(rows[:0]).shape == (0, reference.dim)


@pytest.mark.parametrize("modality", list(Modality))
def test_a_tower_alone_holds_nothing_of_the_other(published, modality):
    folder, reference = published
    whole = open_towers(verified(folder, ROW, reference.dim))
    model = verified(folder, ROW, reference.dim, modalities=frozenset({modality}))

    towers = open_towers(model)

    assert list(towers) == [modality]
    assert bytes_of(towers[modality]) == bytes_of(whole[modality])
    items = noise(model, 2)[modality]
    backend = loaded(model)
    one = backend.embed_images if modality is Modality.IMAGE else backend.embed_texts
    assert one(items).shape == (2, reference.dim)


def test_a_service_of_one_tower_loads_that_one(changed):
    folder, _ = changed

    model = derived(folder, towers=["vision"])

    assert list(open_towers(model)) == [Modality.IMAGE]


def test_parameters_that_wait_for_weights_have_no_memory():
    with parameters_without_memory():
        table = torch.nn.Embedding(10_000, 10_000)

    assert table.weight.device.type == "meta"
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(changed):
    folder, model = changed
    ran = folder / "ran"

    class Poisoned:
        def __reduce__(self):
            return (type(ran).touch, (ran,))

    (folder / "open_clip_model.safetensors").unlink()
    with (folder / "open_clip_pytorch_model.bin").open("wb") as file:
        torch.save({"visual.proj": Poisoned()}, file)

    with pytest.raises(ResourceValidationError, match="not a file of tensors alone"):
        loaded(model())
    assert not ran.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 not a zip",
        pickle.dumps([1, 2, 3]),
        pickle.dumps({"visual.proj": 1}),
        b"\x80\x02J\x01",
        b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {}))
        + b"\x80\x02K\x01Q.",
    ],
    ids=["empty", "a cut zip", "a list", "a number", "a cut number", "a storage by a number"],
)
def test_a_file_that_is_no_checkpoint_is_refused(changed, content):
    folder, model = changed
    (folder / "open_clip_model.safetensors").unlink()
    (folder / "open_clip_pytorch_model.bin").write_bytes(content)

    with pytest.raises(ResourceValidationError, match="not a file of tensors alone"):
        loaded(model())


def test_an_archive_that_would_unfold_is_refused(changed):
    folder, model = changed
    (folder / "open_clip_model.safetensors").unlink()
    file = folder / "open_clip_pytorch_model.bin"
    torch.save({"visual.proj": torch.zeros(1000, 1000)}, tmp := folder / "plain.bin")
    with zipfile.ZipFile(tmp) as plain, zipfile.ZipFile(file, "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    tmp.unlink()

    with pytest.raises(ResourceValidationError, match="not a file of tensors alone"):
        loaded(model())


def test_a_tensor_that_claims_more_than_is_stored_is_refused(changed):
    folder, model = changed
    (folder / "open_clip_model.safetensors").unlink()
    claimed = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"visual.proj": claimed}, folder / "open_clip_pytorch_model.bin")

    with pytest.raises(ResourceValidationError, match="not a file of tensors alone"):
        loaded(model())


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("positional_embedding", torch.int8, "positional_embedding in torch.int8"),
        ("visual.proj", torch.complex64, "visual.proj in torch.complex64"),
        ("logit_scale", torch.complex64, "logit_scale is nan"),
    ],
)
def test_numbers_of_another_kind_than_the_model_computes_with_are_refused(
    changed, name, kind, said
):
    folder, model = changed
    weights = folder / "open_clip_model.safetensors"
    tensors = repositories.safetensors.torch.load_file(weights)
    weights.unlink()
    tensors[name] = tensors[name].to(kind)
    torch.save(tensors, folder / "open_clip_pytorch_model.bin")

    with pytest.raises(ResourceValidationError, match=said):
        loaded(model())


def test_a_tensor_that_is_there_under_two_names_is_refused(changed):
    folder, model = changed
    weights = folder / "open_clip_model.safetensors"
    tensors = repositories.safetensors.torch.load_file(weights)
    tensors["module.visual.proj"] = torch.zeros_like(tensors["visual.proj"])
    repositories.safetensors.torch.save_file(tensors, weights)

    with pytest.raises(ResourceValidationError, match=r"holds visual\.proj twice"):
        loaded(model())


def test_a_picture_tower_of_another_size_is_refused_in_a_sentence(published, monkeypatch):
    folder, reference = published

    def forward(self, items):
        # As timm compares sizes.
        torch._assert(items.shape[1:] == (3, 1, 1), "Input height doesn't match model")

    monkeypatch.setattr(TorchTower, "forward", forward)
    with pytest.raises(BackendUnavailable, match="loads but does not run: Input height"):
        loaded(verified(folder, ROW, reference.dim))


def test_towers_whose_vectors_differ_in_length_are_refused(published, monkeypatch):
    folder, reference = published
    forward = TorchTower.forward

    def shorter(self, items):
        vectors = forward(self, items)
        return vectors if items.dim() == 4 else vectors[:, :-1]

    monkeypatch.setattr(TorchTower, "forward", shorter)
    with pytest.raises(BackendUnavailable, match=f"of {reference.dim - 1} and of {reference.dim}"):
        loaded(verified(folder, ROW, reference.dim))


def test_a_text_encoder_whose_empty_weights_claim_any_size_is_refused():
    shapes = {
        "embeddings.word_embeddings.weight": (100, 64),
        "embeddings.position_embeddings.weight": (2**33, 0),
        "embeddings.token_type_embeddings.weight": (1, 64),
        "encoder.layer.0.intermediate.dense.weight": (128, 64),
    }

    with pytest.raises(ResourceValidationError, match="max_position_embeddings 8589934592"):
        encoder_config("xlm-roberta-base", shapes)


def test_a_pickle_of_tensors_loads_as_the_safetensors_do(changed, published):
    folder, model = changed
    weights = folder / "open_clip_model.safetensors"
    tensors = repositories.safetensors.torch.load_file(weights)
    weights.unlink()
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in tensors.items()}},
        folder / "open_clip_pytorch_model.bin",
    )
    source, reference = published
    same = verified(source, ROW, reference.dim)
    items = noise(same, 2)[Modality.IMAGE]

    got = loaded(model()).embed_images(items)

    assert got.tobytes() == loaded(same).embed_images(items).tobytes()


def test_safetensors_of_parallel_training_load_as_the_others_do(changed, published):
    folder, model = changed
    weights = folder / "open_clip_model.safetensors"
    tensors = repositories.safetensors.torch.load_file(weights)
    named = {f"module.{name}": value for name, value in tensors.items()}
    repositories.safetensors.torch.save_file(named, weights)
    source, reference = published
    same = verified(source, ROW, reference.dim)
    items = noise(same, 2)

    backend, own = loaded(model()), loaded(same)

    assert (
        backend.embed_images(items[Modality.IMAGE]).tobytes()
        == own.embed_images(items[Modality.IMAGE]).tobytes()
    )
    assert derived(folder).score.scale == pytest.approx(reference.scale)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vision_cfg": {"layers": 3}}, "has no visual.transformer.resblocks.2"),
        ({"vision_cfg": {"layers": 1}}, "has visual.transformer.resblocks.1"),
        ({"text_cfg": {"width": 96, "heads": 3}}, "makes it"),
        ({"vision_cfg": {"layers": 10**6}}, "at most 512 makes sense"),
        ({"embed_dim": 10**6}, "at most 16,384 makes sense"),
        ({"vision_cfg": {"image_size": 4096, "patch_size": 1}}, "16,777,216 patches"),
        ({"vision_cfg": {"image_size": [4096, 4096], "patch_size": 1}}, "16,777,216 patches"),
        ({"vision_cfg": {"image_size": 4096, "patch_size": [1, 4]}}, "4,194,304 patches"),
        ({"text_cfg": {"context_length": 10**5}}, "at most 8,192 makes sense"),
        ({"embed_dim": "wide"}, "open_clip .* cannot build"),
        ({"vision_cfg": {"flavour": "new"}}, "open_clip .* cannot build .*flavour"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:someone/else"}}, "not one of timm's"),
    ],
)
def test_a_configuration_that_is_not_the_weights_own_is_refused(changed, change, said):
    folder, model = changed
    path = folder / "open_clip_config.json"
    document = json.loads(path.read_text())
    for key, value in change.items():
        known = document["model_cfg"][key]
        document["model_cfg"][key] = {**known, **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(document))

    with pytest.raises(ResourceValidationError, match=said):
        loaded(model())


@pytest.mark.parametrize("name", ["google/mt5-base", "/etc", "someone/else"])
def test_a_text_tower_that_is_not_known_is_refused_without_asking_a_hub(changed, name):
    folder, model = changed
    path = folder / "open_clip_config.json"
    document = json.loads(path.read_text())
    document["model_cfg"]["text_cfg"] = {"hf_model_name": name, "hf_pooler_type": "mean_pooler"}
    path.write_text(json.dumps(document))

    with pytest.raises(RuntimeNotSupportedError, match=f"text tower is {name!r}"):
        loaded(model())


@pytest.mark.parametrize(
    ("kind", "said"),
    [("siglip2", "naflex"), ("jina_clip", "no foreign code is run"), ("bart", "known are")],
)
def test_a_model_of_another_type_is_refused_with_the_reason(changed, kind, said):
    folder, model = changed
    (folder / "open_clip_config.json").unlink()
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "auto_map": {"A": "b.C"}}))

    with pytest.raises(RuntimeNotSupportedError, match=said):
        loaded(model())


def test_weights_that_changed_after_they_were_verified_are_not_loaded(changed):
    folder, model = changed
    known = model()
    with (folder / "open_clip_model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")

    with pytest.raises(ChecksumMismatchError):
        loaded(known)


def test_a_token_beyond_the_vocabulary_fails_and_the_next_one_is_answered(published):
    folder, reference = published
    model = verified(folder, ROW, reference.dim)
    backend, tokens = loaded(model), noise(model, 1)[Modality.TEXT]
    wrong = tokens.copy()
    wrong[0, 3] = ROW.vocabulary

    with pytest.raises(ValueError, match="beyond the model's"):
        backend.embed_texts(wrong)
    assert backend.embed_texts(tokens).shape == (1, reference.dim)


@pytest.mark.parametrize(
    ("accelerator", "kind", "said"),
    [
        (Accelerator.CUDA, BackendUnavailable, "not built for CUDA"),
        (Accelerator.ROCM, BackendUnavailable, "not built for ROCm"),
        (Accelerator.RK3588, DeviceMismatch, "does not run on rk3588"),
    ],
)
def test_a_device_that_this_torch_has_not_is_refused(published, accelerator, kind, said):
    folder, reference = published
    if accelerator is Accelerator.CUDA and torch.version.cuda:
        kind, said = DeviceMismatch, "finds no device"

    with pytest.raises(kind, match=said) as refused:
        loaded(verified(folder, ROW, reference.dim), BackendSettings(accelerator, threads=1))
    assert refused.value.remedy
