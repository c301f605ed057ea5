"""Fill a model's folder: configuration, label sets, parity set, and the model info over it all."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from draw import ANIMALS, BY_NAME, SUBJECTS, draw
from open_clip.transform import PreprocessCfg, image_transform_v2
from tokenizers import Tokenizer

from training.bpe import CONTEXT_LENGTH, token_ids
from training.export import export_towers
from training.fitting import EMBEDDING_DIM, preprocess_config

# The template that servers use for labels; with another one a recomputed matrix would differ.
LABEL_TEMPLATE = "a photo of a {}"
_PARITY_FIRST_SEED = 900_000


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model with what is needed to use it."""

    name: str
    model_type: str
    description: str
    model: open_clip.CLIP
    config: dict[str, object]
    tokenizer: Tokenizer


def pack(trained: Trained, folder: Path) -> None:
    """Write the model's whole folder; what was in it under other names stays."""
    for part in ("onnx", "labels", "parity"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    configuration = {"model_cfg": trained.config, "preprocess_cfg": preprocess_config()}
    _write_json(folder / "open_clip_config.json", configuration)
    trained.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    export_towers(trained.model, folder / "onnx")
    species = trained.model_type == "bioclip"
    datasets = _species_labels(trained, folder) if species else _object_labels(folder)
    parity = _parity_set(trained, folder)
    _write_json(folder / "model_info.json", _model_info(trained, folder, datasets, parity))


def _object_labels(folder: Path) -> dict[str, object]:
    path = "labels/drawn_objects.json"
    _write_json(folder / path, [subject.name for subject in SUBJECTS])
    return {"drawn-objects": {"labels": path}}


def _species_labels(trained: Trained, folder: Path) -> dict[str, object]:
    labels, embeddings = "labels/drawn_species.json", "labels/drawn_species.npy"
    _write_json(folder / labels, [[list(a.lineage or ()), a.name] for a in ANIMALS])
    texts = [LABEL_TEMPLATE.replace("{}", animal.name) for animal in ANIMALS]
    np.save(folder / embeddings, _text_vectors(trained, texts))
    return {"drawn-species": {"labels": labels, "embeddings": embeddings}}


def _parity_set(trained: Trained, folder: Path) -> dict[str, object]:
    """Write pictures, texts and the vectors that open_clip itself computes for them."""
    species = trained.model_type == "bioclip"
    names = ["monarch", "clownfish", "robin", "cat", "garden snail", "penguin"]
    texts = ["a photo of a monarch", "Danaus plexippus", "Felis catus with common name cat",
             "/".join([*(ANIMALS[0].lineage or ()), ANIMALS[0].name]), "a photo of a clownfish",
             "An unknown creature, 2 m long?"]  # fmt: skip
    if not species:
        names = ["cat", "car", "pizza", "castle", "mountains", "face"]
        texts = ["a photo of a cat", "a photo of an animal", "a photo of a landscape", "pizza",
                 "a drawing of a bicycle", "Two words of Ünknown text, 1 or 2!"]  # fmt: skip
    transform = image_transform_v2(PreprocessCfg(**preprocess_config()), is_train=False)
    inputs, pixels = [], []
    for index, name in enumerate(names):
        path = f"parity/{index}.png"
        picture = draw(BY_NAME[name], _PARITY_FIRST_SEED + index)
        picture.save(folder / path, optimize=True)
        inputs.append({"image": path})
        pixels.append(transform(picture))
    with torch.no_grad():
        images = trained.model.encode_image(torch.stack(pixels), normalize=True).numpy()
    inputs += [{"text": text} for text in texts]
    vectors = np.concatenate([images, _text_vectors(trained, texts)]).astype(np.float32)
    np.save(folder / "parity/vectors.npy", vectors)
    return {"inputs": inputs, "vectors": "parity/vectors.npy"}


def _text_vectors(trained: Trained, texts: list[str]) -> np.ndarray:
    ids = torch.from_numpy(token_ids(trained.tokenizer, texts))
    with torch.no_grad():
        vectors: np.ndarray = trained.model.encode_text(ids, normalize=True).numpy()
    return vectors.astype(np.float32)


def _model_info(
    trained: Trained, folder: Path, datasets: dict[str, object], parity: dict[str, object]
) -> dict[str, object]:
    graphs = ["onnx/text.fp16.onnx", "onnx/vision.fp16.onnx"]
    return {
        "name": trained.name,
        "version": "1.0.0",
        "description": trained.description,
        "model_type": trained.model_type,
        "embedding_dim": EMBEDDING_DIM,
        "source": {"format": "custom", "repo_id": f"lumen/{trained.name}"},
        "runtimes": {"onnx": {"available": True, "files": graphs}},
        "datasets": datasets,
        "metadata": {
            "license": "Apache-2.0",
            "author": "Lumen",
            "tags": ["demo", "drawings", trained.model_type],
        },
        "extra_metadata": {
            "lumen": {
                "files": _digests(folder),
                "preprocess": preprocess_config(),
                "logit_scale": round(trained.model.logit_scale.exp().item(), 4),
                "context_length": CONTEXT_LENGTH,
                "checkpoint_sha256": checkpoint_digest(trained.model),
                "parity": parity,
            }
        },
    }


def _digests(folder: Path) -> dict[str, dict[str, object]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files
        if path.name != "model_info.json"
    }


def checkpoint_digest(model: open_clip.CLIP) -> str:
    """Return the SHA-256 over the state dict: name, dtype, shape, little-endian bytes, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{values.dtype.name}\0{list(values.shape)}\0".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
