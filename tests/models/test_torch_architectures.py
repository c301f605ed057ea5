"""Architectures beyond the rows of the models that people run, beside their own libraries."""

import json

import open_clip
import pytest
import repositories
import safetensors.torch
import torch
import transformers
from repositories import Published, Reference, randomised
from verified_repositories import verified

from lumen_serving.backends.torch.towers import open_towers
from lumen_terms.modality import Modality

PICTURE = repositories.ROWS["laion-vit-b-32"].picture
TEXT = {"width": 64, "heads": 2, "layers": 2}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
}
BERT = {**SIZES, "hidden_size": 128}


def unit(encode):
    @torch.inference_mode()
    def call(items):
        return torch.nn.functional.normalize(encode(items).double(), dim=-1)

    return call


def write_open_clip(model, cfg, folder):
    document = {"model_cfg": cfg, "preprocess_cfg": PICTURE}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "open_clip_model.safetensors")
    return Reference(cfg["embed_dim"], unit(model.encode_image), unit(model.encode_text))


def resnet(folder, row):
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    text = {**TEXT, "vocab_size": row.vocabulary}
    cfg = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}
    return write_open_clip(randomised(open_clip.CLIP(**cfg)), cfg, folder)


def coca(folder, row):
    known = open_clip.get_model_config("coca_ViT-B-32")
    cfg = {
        "embed_dim": 48,
        "vision_cfg": {
            **known["vision_cfg"],
            "image_size": 64,
            "layers": 2,
            "width": 64,
            "head_width": 32,
            "attn_pooler_heads": 2,
        },
        "text_cfg": {**known["text_cfg"], **TEXT, "vocab_size": row.vocabulary},
        "multimodal_cfg": {**known["multimodal_cfg"], "width": 48, "heads": 2, "layers": 1},
    }
    return write_open_clip(randomised(open_clip.CoCa(**cfg)), {**cfg, "custom_text": True}, folder)


def labse(folder, row):
    config = transformers.BertConfig(vocab_size=row.vocabulary, **BERT)
    model = randomised(repositories.MultilingualCLIP(config, 48))
    described = {
        "model_type": "M-CLIP",
        "modelBase": "sentence-transformers/LaBSE",
        "numDims": 48,
        "transformerDimensions": 128,
    }
    (folder / "config.json").write_text(json.dumps(described))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return Reference(48, None, unit(model))


def metaclip_2(folder, row):
    sides = {"projection_dim": 48}
    config = transformers.MetaClip2Config(
        **sides,
        text_config={
            **SIZES,
            **sides,
            "vocab_size": row.vocabulary,
            "max_position_embeddings": 77,
            "eos_token_id": 2,
        },
        vision_config={**SIZES, **sides, "image_size": 64, "patch_size": 16},
    )
    model = randomised(transformers.MetaClip2Model(config))
    model.save_pretrained(folder)
    return Reference(
        48,
        unit(lambda pictures: model.get_image_features(pixel_values=pictures).pooler_output),
        unit(lambda rows: model.get_text_features(input_ids=rows).pooler_output),
    )


ROWS = {
    "resnet": Published(resnet, "clip", PICTURE),
    "coca": Published(coca, "clip", PICTURE, context=76),
    "labse": Published(labse, "labse", PICTURE),
    "metaclip_2": Published(metaclip_2, "xlm-v", PICTURE),
}


@pytest.mark.parametrize("name", ROWS)
def test_vectors_are_those_of_the_models_own_library(name, tmp_path):
    row = ROWS[name]
    torch.manual_seed(repositories.SEED)
    reference = row.write(tmp_path, row)
    encoders = {Modality.IMAGE: reference.pictures, Modality.TEXT: reference.texts}
    present = frozenset(modality for modality, encode in encoders.items() if encode)
    (tmp_path / "tokenizer.json").touch()
    items = {
        # Noise of one strength is alike to a ResNet.
        Modality.IMAGE: torch.randn(2, 3, 64, 64) * torch.tensor([0.5, 3.0]).view(2, 1, 1, 1),
        Modality.TEXT: torch.from_numpy(repositories.tokens(row, 2)),
    }

    towers = open_towers(verified(tmp_path, row, reference.dim, modalities=present))

    assert towers.keys() == present
    for modality, tower in towers.items():
        got = unit(tower)(items[modality])
        own = encoders[modality](items[modality])
        assert (got * own).sum(dim=1).min() > 0.999999
        assert own[0] @ own[1] < 0.9999
