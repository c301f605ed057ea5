"""The examples fetch what they name, from repositories laid out as the published ones are."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from hub_server import HubServer, make_it_the_hub
from tiny_models import END, TinyModel, a_tokenizer, text_graph, vision_graph

from lumen_cli.resources.selection import config_of
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.reading.parse import parse_files
from lumen_resources.fetch.fetch import FetchOptions, fetch_and_verify, open_verified
from lumen_resources.progress import Progress
from lumen_resources.sources.protocol import SourceAccess

EXAMPLES = Path(__file__).parents[3] / "examples"
SPECIES = [
    [["Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Erithacus", "rubecula"],
     "European Robin"],
    [["Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Danaus", "plexippus"],
     "Monarch"],
]  # fmt: skip


def weights(**scalars: float) -> bytes:
    """A safetensors file with a model's scalars, and nothing else of it."""
    header, data = {}, b""
    for name, value in scalars.items():
        start = len(data)
        data += struct.pack("<f", value)
        header[name] = {"dtype": "F32", "shape": [], "data_offsets": [start, len(data)]}
    said = json.dumps(header).encode()
    return struct.pack("<Q", len(said)) + said + data


def an_open_clip_repository(folder: Path, dim: int, size: int, **text: object) -> None:
    folder.mkdir(parents=True)
    tower = {"image_size": size, "layers": 1, "width": 8, "patch_size": 16}
    cfg = {
        "size": size,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash" if text else "shortest",
    }
    config = {
        "model_cfg": {
            "embed_dim": dim,
            "vision_cfg": tower,
            "text_cfg": {"context_length": 77, "vocab_size": 49408, **text},
            **({"init_logit_bias": -10} if text else {}),
        },
        "preprocess_cfg": cfg,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    scalars = {"logit_scale": 4.6, **({"logit_bias": -16.5} if text else {})}
    (folder / "open_clip_model.safetensors").write_bytes(weights(**scalars))
    a_tokenizer().save(str(folder / "tokenizer.json"))
    if text:
        said = {"pad_token": END, "tokenizer_class": "GemmaTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(said))
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"the same weights, pickled")


def an_immich_repository(folder: Path) -> None:
    spec = TinyModel(dim=512, image_size=224, context_length=77)
    for tower, graph in (("visual", vision_graph(spec)), ("textual", text_graph(spec))):
        (folder / tower).mkdir(parents=True)
        onnx.save(graph, folder / tower / "model.onnx")
    tower = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32}
    text = {"context_length": 77, "vocab_size": 49408}
    config = {"embed_dim": 512, "vision_cfg": tower, "text_cfg": text}
    (folder / "config.json").write_text(json.dumps(config))
    cfg = {"size": [224, 224], "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "visual" / "preprocess_cfg.json").write_text(json.dumps(cfg))
    a_tokenizer().save(str(folder / "textual" / "tokenizer.json"))
    for board in ("rk3566", "rk3588"):
        (folder / "visual" / "rknpu" / board).mkdir(parents=True)
        (folder / "visual" / "rknpu" / board / "model.rknn").write_bytes(b"for another device")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    an_open_clip_repository(tmp_path / "mobileclip", 512, 256)
    an_open_clip_repository(tmp_path / "bioclip", 768, 224)
    siglip = {"context_length": 64, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP2"}
    siglip["tokenizer_kwargs"] = {"clean": "canonicalize"}
    an_open_clip_repository(tmp_path / "siglip", 768, 224, **siglip)
    an_immich_repository(tmp_path / "immich")
    heads = tmp_path / "tree" / "embeddings"
    heads.mkdir(parents=True)
    for stem, dim in (("txt_emb_bioclip-2", 768), ("txt_emb_species", 512)):
        (heads / f"{stem}.json").write_text(json.dumps(SPECIES))
        np.save(heads / f"{stem}.npy", np.eye(dim, len(SPECIES), dtype=np.float32))
    with HubServer(tmp_path / "hub") as server:
        server.publish("models/timm/MobileCLIP2-S2-OpenCLIP", tmp_path / "mobileclip")
        server.publish("models/imageomics/bioclip-2", tmp_path / "bioclip")
        server.publish("models/timm/ViT-B-16-SigLIP2", tmp_path / "siglip")
        server.publish("models/immich-app/ViT-B-32__openai", tmp_path / "immich")
        server.publish("datasets/imageomics/TreeOfLife-200M", tmp_path / "tree")
        make_it_the_hub(server, tmp_path, monkeypatch)
        yield server


@pytest.mark.parametrize(
    ("example", "dim", "fetched"),
    [
        ("clip", 512, {"open_clip_model.safetensors"}),
        ("bioclip", 768, {"open_clip_model.safetensors", "embeddings/txt_emb_bioclip-2.npy"}),
        ("siglip2", 768, {"open_clip_model.safetensors"}),
        ("immich", 512, {"visual/model.onnx", "textual/model.onnx"}),
    ],
)
def test_an_example_fetches_what_it_needs_and_starts_again_without_the_hub(
    hub, tmp_path, example, dim, fetched
):
    (service,) = [
        found
        for found in parse_files([EXAMPLES / f"{example}-service.yaml"])
        if isinstance(found, LumenModelService)
    ]
    config = config_of(service)
    cache = tmp_path / "cache"

    options = FetchOptions(access=SourceAccess())
    model = fetch_and_verify(config, cache, tmp_path, Progress(), options)

    assert model.embedding_dim == dim
    assert fetched == {path.partition("/")[2] for path, _ in hub.content.requests}
    assert [found.name for found in model.label_sets] == [
        spec.name for spec in service.spec.label_sets
    ]
    hub.close()
    shutil.rmtree(tmp_path / "hub")
    assert model == open_verified(config, cache, tmp_path)
