"""Published repositories with seeded random weights, in the layouts that their owners chose.

`write(folder, "siglip2")` writes configuration, weights and tokenizer files and returns what
open_clip or transformers themselves make of them: the reference. Widths are tiny; where only one
architecture of a kind exists (FastViT), it has its full size.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors.torch
import torch
import transformers
from open_clip.hf_model import HFTextEncoder
from tokenizers import Tokenizer
from torch import nn
from trained_tokenizers import KINDS, write_tokenizer

OPENAI = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
NONE = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
SEED = 11

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the model's own library computes: float pictures or tokens to unit rows [N, dim].

    None where the repository has no such tower. `scale` and `bias` are those of the weights.
    """

    dim: int
    pictures: Encode | None
    texts: Encode | None
    scale: float = 100.0
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class Published:
    """One row of the models that people run.

    `write` makes the repository; `kind` names its tokenizer, `picture` how pictures are prepared,
    `context` how many tokens a text has, `score` how cosines become scores.
    """

    write: Callable[[Path, "Published"], Reference]
    kind: str
    picture: Mapping[str, Any]
    context: int = 77
    score: str = "softmax"
    license: str = "mit"
    cfg: Mapping[str, Any] = field(default_factory=dict)

    @property
    def vocabulary(self) -> int:
        """How many tokens the tokenizer has."""
        return int(tokenizer(self.kind).get_vocab_size())


@cache
def tokenizer(kind: str) -> Tokenizer:
    """Return the tokenizer of a kind, made once."""
    made = KINDS[kind].build()
    made.no_padding()
    return made


def write(folder: Path, name: str) -> Reference:
    """Write the repository called `name` (a key of ROWS) and return its reference."""
    row = ROWS[name]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    reference = row.write(folder, row)
    write_tokenizer(folder, row.kind)
    (folder / "README.md").write_text(f"---\nlicense: {row.license}\n---\n")
    return reference


def tokens(row: Published, count: int) -> np.ndarray:
    """Return distinct rows int64 [count, L] as the row's tokenizer frames them."""
    rng = np.random.default_rng(5)
    kind = KINDS[row.kind]
    rows = np.full((count, row.context), kind.pad_id, np.int64)
    for each in rows:
        words = rng.choice(["a", "photo", "of", "red", "house", "cat", "dog", "grass"], 5)
        ids = tokenizer(row.kind).encode(" ".join(words)).ids[: row.context]
        each[: len(ids)] = ids
    return rows


def randomised(model: nn.Module) -> nn.Module:
    """Return the model with parameters and statistics that no two items pass alike."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("logit_scale", "logit_bias")):
                continue
            if "gamma" in name or name.endswith(".ls"):
                parameter.uniform_(0.2, 0.6)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.08)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.7, 1.4)
    return model.eval()


def _unit(encode: Encode) -> Encode:
    @torch.inference_mode()
    def call(items: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(encode(items).double(), dim=-1)

    return call


# open_clip's layout


def _vit(**changes: Any) -> dict[str, Any]:
    return {"layers": 2, "width": 64, "head_width": 32, "patch_size": 32, **changes}


def _text(**changes: Any) -> dict[str, Any]:
    return {"width": 64, "heads": 2, "layers": 2, **changes}


def _open_clip(folder: Path, row: Published) -> Reference:
    """Write open_clip_config.json and open_clip_model.safetensors, as push_to_hf_hub does."""
    cfg = _model_cfg(row)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": cfg, "preprocess_cfg": dict(row.picture)}, indent=2)
    )
    model = randomised(_built(cfg))
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "open_clip_model.safetensors")
    return _reference(model, cfg["embed_dim"])


def _reference(model: nn.Module, dim: int) -> Reference:
    bias = getattr(model, "logit_bias", None)
    return Reference(
        dim,
        _unit(model.encode_image),
        _unit(model.encode_text),
        model.logit_scale.exp().item(),
        0.0 if bias is None else bias.item(),
    )


def _model_cfg(row: Published) -> dict[str, Any]:
    cfg = json.loads(json.dumps(dict(row.cfg)))
    text = cfg["text_cfg"]
    text["context_length"] = row.context
    if "hf_model_name" in text:
        del text["context_length"]
    else:
        text["vocab_size"] = row.vocabulary
    hub_name = KINDS[row.kind].hub_name
    if hub_name:
        text["hf_tokenizer_name"] = hub_name
        text["tokenizer_kwargs"] = dict(KINDS[row.kind].options)
    return cfg


def _built(cfg: Mapping[str, Any]) -> nn.Module:
    """Return open_clip's model; an encoder of the hub is made from the configuration it has there.

    open_clip asks the hub for that configuration, which nobody can here.
    """
    values = json.loads(json.dumps(dict(cfg)))
    custom = values.pop("custom_text", False)
    text = values["text_cfg"]
    if "hf_model_name" not in text:
        kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
        return kind(**values)
    model = open_clip.CustomTextCLIP(**{**values, "text_cfg": _text(vocab_size=9)})
    config = ENCODERS[text["hf_model_name"]]
    encoder = HFTextEncoder(
        text["hf_model_name"],
        output_dim=values["embed_dim"],
        config=config,
        proj_type=text.get("hf_proj_type", "mlp"),
        pooler_type=text["hf_pooler_type"],
    )
    if config.is_encoder_decoder:
        encoder.transformer = encoder.transformer.encoder
    else:
        encoder.transformer.pooler = None
    model.text = encoder
    return model


_XLM_ROBERTA = {
    "vocab_size": tokenizer("xlm-roberta").get_vocab_size(),
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
# As in the encoders' own repositories, but for widths, layers and vocabularies.
ENCODERS: Mapping[str, Any] = {
    "xlm-roberta-base": transformers.XLMRobertaConfig(
        **_XLM_ROBERTA,
        hidden_size=128,
        num_attention_heads=2,
        num_hidden_layers=2,
        intermediate_size=160,
    ),
    "facebook/nllb-200-distilled-600M": transformers.M2M100Config(
        vocab_size=tokenizer("nllb").get_vocab_size(),
        d_model=128,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=160,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=160,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=1024,
        pad_token_id=1,
    ),
}


def _apple(folder: Path, row: Published) -> Reference:
    """Write what apple/MobileCLIP2-S0 has: a .pt of tensors, and no configuration of open_clip's.

    At full size: the architecture is known by the file's name alone.
    """
    (folder / "config.json").write_text(json.dumps(dict(row.cfg)))
    cfg = open_clip.get_model_config("MobileCLIP2-S0")
    model = randomised(_built(cfg))
    torch.save(model.state_dict(), folder / "mobileclip2_s0.pt")
    return _reference(model, cfg["embed_dim"])


# transformers' layout


def _transformers(
    make: Callable[[Published], nn.Module], folder: Path, row: Published
) -> Reference:
    model = randomised(make(row))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(dict(row.cfg), indent=2))
    pad = KINDS[row.kind].pad_id if model.config.model_type == "chinese_clip" else None

    def texts(rows: torch.Tensor) -> torch.Tensor:
        mask = None if pad is None else (rows != pad).long()
        return model.get_text_features(input_ids=rows, attention_mask=mask).pooler_output

    bias = getattr(model, "logit_bias", None)
    return Reference(
        model.config.text_config.hidden_size if bias is not None else model.config.projection_dim,
        _unit(lambda pictures: model.get_image_features(pixel_values=pictures).pooler_output),
        _unit(texts),
        model.logit_scale.exp().item(),
        0.0 if bias is None else bias.item(),
    )


_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
}


def _clip(row: Published) -> nn.Module:
    vocabulary = row.vocabulary
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            projection_dim=48,
            text_config={
                **_SIZES,
                "vocab_size": vocabulary,
                "max_position_embeddings": row.context,
                "projection_dim": 48,
                "bos_token_id": vocabulary - 2,
                "eos_token_id": vocabulary - 1,
                "pad_token_id": vocabulary - 1,
            },
            vision_config={**_SIZES, "image_size": 64, "patch_size": 16, "projection_dim": 48},
        )
    )


def _siglip(row: Published) -> nn.Module:
    return transformers.SiglipModel(
        transformers.SiglipConfig(
            text_config={
                **_SIZES,
                "vocab_size": row.vocabulary,
                "max_position_embeddings": row.context,
                "projection_size": 64,
            },
            vision_config={**_SIZES, "image_size": 64, "patch_size": 16},
        )
    )


def _chinese_clip(row: Published) -> nn.Module:
    return transformers.ChineseCLIPModel(
        transformers.ChineseCLIPConfig(
            projection_dim=48,
            text_config={
                **_SIZES,
                "vocab_size": row.vocabulary,
                "max_position_embeddings": 512,
                "pad_token_id": 0,
            },
            vision_config={**_SIZES, "image_size": 64, "patch_size": 16, "projection_dim": 48},
        )
    )


def _metaclip_2(row: Published) -> nn.Module:
    return transformers.MetaClip2Model(
        transformers.MetaClip2Config(
            projection_dim=48,
            text_config={
                **_SIZES,
                "vocab_size": row.vocabulary,
                "max_position_embeddings": row.context,
                "projection_dim": 48,
                "eos_token_id": 2,
            },
            vision_config={**_SIZES, "image_size": 64, "patch_size": 16, "projection_dim": 48},
        )
    )


# M-CLIP's layout


class MultilingualCLIP(nn.Module):
    """M-CLIP's own model, in its names: an encoder, the mean over its mask, a linear layer."""

    def __init__(self, config: Any, dim: int) -> None:
        super().__init__()
        self.transformer = transformers.AutoModel.from_config(config)
        self.LinearTransformation = nn.Linear(config.hidden_size, dim)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        mask = (rows != self.transformer.config.pad_token_id).long()
        embedded = self.transformer(input_ids=rows, attention_mask=mask)[0]
        mean = (embedded * mask.unsqueeze(2)).sum(dim=1) / mask.sum(dim=1)[:, None]
        return self.LinearTransformation(mean)


def _m_clip(folder: Path, row: Published) -> Reference:
    """Write what M-CLIP/XLM-Roberta-Large-Vit-B-32 has: a text tower alone, in a pickle."""
    config = ENCODERS["xlm-roberta-base"]
    model = randomised(MultilingualCLIP(config, 48))
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["MultilingualCLIP"],
                "model_type": "M-CLIP",
                "modelBase": "xlm-roberta-base",
                "numDims": 48,
                "transformerDimensions": config.hidden_size,
            }
        )
    )
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return Reference(48, None, _unit(model), 100.0)


def _picture(size: int, mode: str, interpolation: str, normal: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "size": [size, size],
        "mode": "RGB",
        **normal,
        "interpolation": interpolation,
        "resize_mode": mode,
    }


def _processor(kind: str, normal: Mapping[str, Any]) -> dict[str, Any]:
    """Return preprocessor_config.json of transformers' models of 64 pixels."""
    crops = kind == "CLIPImageProcessor"
    return {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"shortest_edge": 64} if crops else {"height": 64, "width": 64},
        "resample": 3,
        "do_center_crop": crops,
        **({"crop_size": {"height": 64, "width": 64}} if crops else {}),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": normal["mean"],
        "image_std": normal["std"],
        "do_convert_rgb": True,
    }


def _siglip_cfg(tower: str, size: int, **text: Any) -> dict[str, Any]:
    return {
        "embed_dim": 192,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": size,
            "timm_model_name": tower,
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": text,
    }


_SIGLIP_TEXT = {
    "width": 64,
    "heads": 2,
    "layers": 2,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
_SHORTEST_64 = _picture(64, "shortest", "bicubic", OPENAI)
_SMALL = {"embed_dim": 48, "vision_cfg": _vit(image_size=64), "text_cfg": _text()}
_FASTVIT = {
    "embed_dim": 512,
    "custom_text": True,
    "vision_cfg": {
        "timm_model_name": "fastvit_mci0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": None,
        "timm_drop": 0.0,
        "timm_drop_path": 0.0,
        "image_size": 256,
    },
    "text_cfg": _text(no_causal_mask=True),
}

ROWS: Mapping[str, Published] = {
    "laion-vit-b-32": Published(_open_clip, "clip", _SHORTEST_64, cfg=_SMALL),
    "openai-quickgelu": Published(
        _open_clip, "clip", _SHORTEST_64, cfg={**_SMALL, "quick_gelu": True}
    ),
    "dfn-squash": Published(
        _open_clip,
        "clip",
        _picture(64, "squash", "bicubic", OPENAI),
        license="apple-amlr",
        cfg={**_SMALL, "quick_gelu": True, "custom_text": True},
    ),
    "bioclip": Published(_open_clip, "clip", _SHORTEST_64, cfg=_SMALL),
    "mobileclip2": Published(
        _open_clip,
        "clip",
        _picture(256, "shortest", "bilinear", NONE),
        license="apple-amlr",
        cfg=_FASTVIT,
    ),
    "mobileclip2-apple": Published(
        _apple,
        "clip",
        _picture(256, "shortest", "bilinear", NONE),
        license="apple-amlr",
        cfg={"model_name": "MobileCLIP2-S0"},
    ),
    "siglip": Published(
        _open_clip,
        "t5",
        _picture(224, "squash", "bicubic", HALF),
        context=64,
        score="sigmoid",
        license="apache-2.0",
        cfg=_siglip_cfg("vit_tiny_patch16_224", 224, **_SIGLIP_TEXT),
    ),
    "siglip2": Published(
        _open_clip,
        "gemma",
        _picture(224, "squash", "bicubic", HALF),
        context=64,
        score="sigmoid",
        license="apache-2.0",
        cfg=_siglip_cfg(
            "vit_tiny_patch16_224", 224, **_SIGLIP_TEXT, act_kwargs={"approximate": "tanh"}
        ),
    ),
    "nllb-clip-siglip": Published(
        _open_clip,
        "nllb",
        _picture(384, "squash", "bicubic", HALF),
        score="sigmoid",
        license="cc-by-nc-4.0",
        cfg=_siglip_cfg(
            "vit_tiny_patch16_384",
            384,
            hf_model_name="facebook/nllb-200-distilled-600M",
            hf_proj_type="linear",
            hf_pooler_type="cls_pooler",
        ),
    ),
    "xlm-roberta": Published(
        _open_clip,
        "xlm-roberta",
        _SHORTEST_64,
        cfg={
            **_SMALL,
            "text_cfg": {"hf_model_name": "xlm-roberta-base", "hf_pooler_type": "mean_pooler"},
        },
    ),
    "pe-core": Published(
        _open_clip,
        "clip",
        _picture(384, "squash", "bilinear", HALF),
        context=32,
        license="apache-2.0",
        cfg={
            "embed_dim": 512,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 384,
                "timm_model_name": "vit_pe_core_tiny_patch16_384",
                "timm_model_pretrained": False,
                "timm_pool": "map",
                "timm_proj": None,
            },
            "text_cfg": _text(),
        },
    ),
    "metaclip2-worldwide": Published(
        _open_clip,
        "xlm-v",
        _SHORTEST_64,
        license="cc-by-nc-4.0",
        cfg={
            **_SMALL,
            "quick_gelu": True,
            "text_cfg": _text(pool_type="eos", eos_id=2),
        },
    ),
    "transformers-clip": Published(
        partial(_transformers, _clip),
        "clip",
        _SHORTEST_64,
        cfg=_processor("CLIPImageProcessor", OPENAI),
    ),
    "transformers-siglip": Published(
        partial(_transformers, _siglip),
        "t5",
        _picture(64, "squash", "bicubic", HALF),
        context=64,
        score="sigmoid",
        license="apache-2.0",
        cfg=_processor("SiglipImageProcessor", HALF),
    ),
    "transformers-siglip2": Published(
        partial(_transformers, _siglip),
        "gemma",
        _picture(64, "squash", "bicubic", HALF),
        context=64,
        score="sigmoid",
        license="apache-2.0",
        cfg=_processor("SiglipImageProcessor", HALF),
    ),
    "transformers-metaclip2": Published(
        partial(_transformers, _metaclip_2),
        "xlm-v",
        _SHORTEST_64,
        license="cc-by-nc-4.0",
        cfg=_processor("CLIPImageProcessor", OPENAI),
    ),
    "chinese-clip": Published(
        partial(_transformers, _chinese_clip),
        "chinese-bert",
        _picture(64, "squash", "bicubic", OPENAI),
        context=52,
        cfg=_processor("ChineseCLIPImageProcessor", OPENAI),
    ),
    "m-clip": Published(_m_clip, "xlm-roberta", _SHORTEST_64),
}
