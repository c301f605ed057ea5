"""Published repositories as their listings and small files show them, one for each kind of model.

Sizes of large files are made up; configurations have the fields that decide a vector.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OPENAI_MEAN = [0.48145466, 0.4578275, 0.40821073]
OPENAI_STD = [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]
WEIGHTS = "open_clip_model.safetensors"


@dataclass(frozen=True)
class Published:
    """A repository: JSON documents and texts by path, and the sizes of what is never looked at."""

    repository: str
    documents: Mapping[str, Any]
    large: tuple[str, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        """The small files' bytes."""
        return {
            path: said.encode() if isinstance(said, str) else json.dumps(said).encode()
            for path, said in self.documents.items()
        }

    def files(self) -> dict[str, int]:
        """The listing."""
        small = {path: len(content) for path, content in self.contents().items()}
        return small | dict.fromkeys(self.large, 1000) | dict(self.sizes)

    def read(self) -> Callable[[str], bytes]:
        """Give the small files; whoever asks for another one fetches what is large."""
        return self.contents().__getitem__


def open_clip_config(
    dim: int, text: Mapping[str, Any], cfg: Mapping[str, Any] | None, size: int = 224, **model: Any
) -> dict[str, Any]:
    """open_clip_config.json."""
    config: dict[str, Any] = {
        "model_cfg": {
            "embed_dim": dim,
            "vision_cfg": {"image_size": size, "layers": 1, "width": 8, "patch_size": 16},
            "text_cfg": dict(text),
            **model,
        }
    }
    return config if cfg is None else config | {"preprocess_cfg": dict(cfg)}


def cfg(
    resize: str, interpolation: str, mean: list[float], std: list[float], **more: Any
) -> dict[str, Any]:
    """open_clip's preprocess_cfg."""
    said = {"mean": mean, "std": std, "interpolation": interpolation, "resize_mode": resize}
    return said | more


def tokens(pad: str, number: int, kind: str, **more: Any) -> dict[str, Any]:
    """tokenizer_config.json as transformers writes it."""
    decoder = {str(number): {"content": pad, "special": True}}
    return {"added_tokens_decoder": decoder, "pad_token": pad, "tokenizer_class": kind, **more}


BPE = {"context_length": 77, "vocab_size": 49408}
OPENAI = cfg("shortest", "bicubic", OPENAI_MEAN, OPENAI_STD)
CLIP_TOKENS = tokens(
    "<|endoftext|>", 49407, "CLIPTokenizer", model_max_length=77, eos_token="<|endoftext|>"
)
XLM_R_TOKENS = tokens("<pad>", 1, "XLMRobertaTokenizer", model_max_length=512)
NLLB_TOKENS = tokens("<pad>", 1, "NllbTokenizer", src_lang="eng_Latn")
GEMMA_TOKENS = tokens("<pad>", 0, "GemmaTokenizer", add_bos_token=False, add_eos_token=True)
T5_TOKENS = tokens("</s>", 1, "T5Tokenizer", model_max_length=64)
CLIP_PROCESSOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "image_mean": OPENAI_MEAN,
    "image_processor_type": "CLIPImageProcessor",
    "image_std": OPENAI_STD,
    "resample": 3,
    "size": {"shortest_edge": 224},
}
CHINESE_PROCESSOR = CLIP_PROCESSOR | {
    "do_center_crop": False,
    "image_processor_type": "ChineseCLIPImageProcessor",
    "size": {"height": 224, "width": 224},
}
SIGLIP_PROCESSOR = {
    "image_mean": HALF,
    "image_processor_type": "SiglipImageProcessor",
    "image_std": HALF,
    "resample": 3,
    "size": {"height": 224, "width": 224},
}


def hub(
    repository: str,
    config: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | None = None,
    *large: str,
    **documents: Any,
) -> Published:
    """A repository in open_clip's layout."""
    said: dict[str, Any] = {"open_clip_config.json": config, ".gitattributes": "*.bin lfs\n"}
    if tokenizer is not None:
        said |= {"tokenizer_config.json": tokenizer, "special_tokens_map.json": {}}
    sizes = {} if tokenizer is None else {"tokenizer.json": 17_000_000}
    return Published(repository, said | documents, large or (WEIGHTS,), sizes)


def siglip(dim: int, size: int, name: str, tokenizer: Mapping[str, Any]) -> Published:
    """A SigLIP in open_clip's layout."""
    text = {
        "context_length": 64,
        "hf_tokenizer_name": name,
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    said = cfg("squash", "bicubic", HALF, HALF)
    config = open_clip_config(dim, text, said, size, init_logit_bias=-10)
    return hub(name, config, tokenizer)


def immich(name: str, config: Mapping[str, Any], said: Mapping[str, Any], tokenizer: Any) -> Any:
    """One of Immich's repositories: graphs and compiled graphs of one model."""
    towers = ("textual", "visual")
    return Published(
        f"immich-app/{name}",
        {
            "README.md": "---\ntags:\n- immich\n- clip\n---\n# Model\n",
            "config.json": config["model_cfg"],
            "textual/tokenizer_config.json": tokenizer,
            "textual/special_tokens_map.json": {},
            "visual/preprocess_cfg.json": said,
        },
        (
            *(f"{tower}/model.onnx" for tower in towers),
            *(f"{tower}/rknpu/rk3588/model.rknn" for tower in towers),
            *(f"{tower}/rknpu/rk3566/model.rknn" for tower in towers),
            "textual/model.armnn",
        ),
        {"textual/tokenizer.json": 2_000_000},
    )


def transformers(
    repository: str,
    config: Mapping[str, Any],
    processor: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    *large: str,
) -> Published:
    """A repository in transformers' layout."""
    said = {
        "config.json": config,
        "preprocessor_config.json": processor,
        "tokenizer_config.json": tokenizer,
    }
    return Published(
        repository, said, large or ("model.safetensors",), {"tokenizer.json": 2_000_000}
    )


CHINESE = {
    "model_type": "chinese_clip",
    "projection_dim": 512,
    "text_config": {"max_position_embeddings": 512},
    "vision_config": {"image_size": 224},
}
CLIP = {"model_type": "clip", "projection_dim": 512, "text_config": {}, "vision_config": {}}
SIGLIP = {"model_type": "siglip", "text_config": {}, "vision_config": {"image_size": 224}}
M_CLIP = {"model_type": "M-CLIP", "modelBase": "xlm-roberta-large", "numDims": 512}

BY_ROW: Mapping[str, Published] = {
    "ViT-B-32": hub(
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        open_clip_config(512, BPE, OPENAI),
        CLIP_TOKENS,
        "open_clip_pytorch_model.bin",
        WEIGHTS,
        "model.safetensors",
        "pytorch_model.bin",
        **{"config.json": CLIP, "preprocessor_config.json": CLIP_PROCESSOR},
    ),
    "ViT-B-32 openai": hub(
        "timm/vit_base_patch32_clip_224.openai",
        open_clip_config(512, BPE, OPENAI, quick_gelu=True),
        CLIP_TOKENS,
    ),
    "ViT-L-14 laion": hub(
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
        open_clip_config(768, BPE, cfg("shortest", "bicubic", HALF, HALF)),
        CLIP_TOKENS,
    ),
    "DFN5B": hub(
        "apple/DFN5B-CLIP-ViT-H-14-378",
        open_clip_config(
            1024, BPE, cfg("squash", "bicubic", OPENAI_MEAN, OPENAI_STD), 378, quick_gelu=True
        ),
        CLIP_TOKENS,
        "open_clip_pytorch_model.bin",
    ),
    "MobileCLIP2-S2": hub(
        "timm/MobileCLIP2-S2-OpenCLIP",
        open_clip_config(
            512,
            BPE | {"no_causal_mask": True},
            cfg("shortest", "bilinear", [0.0] * 3, [1.0] * 3),
            256,
            custom_text=True,
        ),
        None,
        **{"README.md": "---\nlicense: apple-amlr\nlibrary_name: open_clip\n---\n# Mobile\n"},
    ),
    "MobileCLIP2-S4": hub(
        "timm/MobileCLIP2-S4-OpenCLIP",
        open_clip_config(
            768,
            BPE | {"no_causal_mask": True},
            cfg("shortest", "bilinear", OPENAI_MEAN, OPENAI_STD),
            256,
        ),
    ),
    "SigLIP": siglip(768, 224, "timm/ViT-B-16-SigLIP", T5_TOKENS),
    "SigLIP 2": siglip(1152, 378, "timm/ViT-SO400M-14-SigLIP2-378", GEMMA_TOKENS),
    "nllb-clip-siglip": hub(
        "visheratin/nllb-clip-base-siglip",
        open_clip_config(
            768,
            {"hf_tokenizer_name": "facebook/nllb-200-distilled-600M", "hf_proj_type": "linear"},
            cfg("squash", "bicubic", HALF, HALF),
            384,
            init_logit_bias=-10,
        ),
        NLLB_TOKENS,
        "open_clip_pytorch_model.bin",
    ),
    "xlm-roberta": hub(
        "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
        open_clip_config(
            512, {"hf_tokenizer_name": "xlm-roberta-base", "hf_pooler_type": "mean_pooler"}, OPENAI
        ),
        XLM_R_TOKENS,
        "open_clip_pytorch_model.bin",
    ),
    "PE-Core": hub(
        "timm/PE-Core-B-16",
        open_clip_config(1024, BPE | {"context_length": 32}, cfg("squash", "bilinear", HALF, HALF)),
    ),
    "MetaCLIP 2 worldwide": hub(
        "timm/vit_huge_patch14_clip_224.metaclip2_worldwide",
        open_clip_config(
            1024,
            {"context_length": 77, "hf_tokenizer_name": "facebook/xlm-v-base", "pool_type": "eos"},
            OPENAI,
            quick_gelu=True,
        ),
        XLM_R_TOKENS,
    ),
    "CLIPA": hub(
        "UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B",
        open_clip_config(
            768,
            {
                "context_length": 32,
                "hf_tokenizer_name": "bert-base-uncased",
                "tokenizer_kwargs": {"strip_sep_token": True},
            },
            cfg("squash", "bilinear", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ),
        tokens("[PAD]", 0, "BertTokenizer", model_max_length=512),
        "open_clip_pytorch_model.bin",
    ),
    "BioCLIP 2": hub(
        "imageomics/bioclip-2",
        open_clip_config(768, BPE, {"mean": OPENAI_MEAN, "std": OPENAI_STD}),
        CLIP_TOKENS,
        **{"README.md": "---\nlicense:\n- mit\nlanguage:\n- en\n---\n# BioCLIP 2\n"},
    ),
    "Chinese CLIP": transformers(
        "OFA-Sys/chinese-clip-vit-base-patch16",
        CHINESE,
        CHINESE_PROCESSOR,
        tokens("[PAD]", 0, "BertTokenizer"),
        "pytorch_model.bin",
        "clip_cn_vit-b-16.pt",
    ),
    "transformers' CLIP": transformers(
        "openai/clip-vit-base-patch32", CLIP, CLIP_PROCESSOR, CLIP_TOKENS
    ),
    "transformers' SigLIP": transformers(
        "google/siglip-base-patch16-224",
        SIGLIP,
        SIGLIP_PROCESSOR,
        tokens("</s>", 1, "SiglipTokenizer", model_max_length=64),
    ),
    "transformers' SigLIP 2": transformers(
        "google/siglip2-so400m-patch14-384",
        SIGLIP
        | {
            "text_config": {"hidden_size": 1152, "vocab_size": 256000},
            "vision_config": {"hidden_size": 1152, "image_size": 384},
        },
        SIGLIP_PROCESSOR | {"size": {"height": 384, "width": 384}},
        GEMMA_TOKENS,
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ),
    "transformers' exports": transformers(
        "Xenova/clip-vit-base-patch32",
        CLIP,
        CLIP_PROCESSOR,
        CLIP_TOKENS,
        *(
            f"onnx/{tower}_model{suffix}.onnx"
            for tower in ("vision", "text")
            for suffix in ("", "_fp16", "_quantized")
        ),
        "onnx/model.onnx",
    ),
    "Immich's CLIP": immich(
        "ViT-B-32__openai",
        open_clip_config(512, BPE, None, quick_gelu=True),
        OPENAI | {"size": [224, 224], "mode": "RGB", "fill_color": 0},
        CLIP_TOKENS,
    ),
    "Immich's SigLIP": immich(
        "ViT-B-16-SigLIP__webli",
        open_clip_config(
            768,
            {
                "context_length": 64,
                "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
                "tokenizer_kwargs": {"clean": "canonicalize"},
            },
            None,
            init_logit_bias=-10,
        ),
        cfg("squash", "bicubic", HALF, HALF, size=[224, 224], mode="RGB"),
        T5_TOKENS,
    ),
    "Immich's M-CLIP": immich(
        "LABSE-Vit-L-14",
        open_clip_config(768, BPE, None),
        OPENAI | {"size": [224, 224], "mode": "RGB"},
        tokens("[PAD]", 0, "BertTokenizer", do_lower_case=False),
    ),
    "Apple's MobileCLIP2": Published(
        "apple/MobileCLIP2-S0",
        {
            "config.json": {"embed_dim": 512, "image_cfg": {"model_name": "mci0"}, "text_cfg": {}},
            "README.md": "---\nlicense: apple-amlr\n---\n",
        },
        ("mobileclip2_s0.pt",),
    ),
    "M-CLIP": Published(
        "M-CLIP/XLM-Roberta-Large-Vit-B-32",
        {"config.json": M_CLIP, "tokenizer_config.json": XLM_R_TOKENS},
        ("pytorch_model.bin",),
        {"tokenizer.json": 17_000_000},
    ),
    "clip-as-service": Published("ViT-B-32::openai", {}, ("visual.onnx", "textual.onnx")),
}


def without(row: str, *paths: str) -> Published:
    """The repository of a row, these files gone."""
    there = BY_ROW[row]
    return Published(
        there.repository,
        {path: said for path, said in there.documents.items() if path not in paths},
        tuple(path for path in there.large if path not in paths),
        {path: size for path, size in there.sizes.items() if path not in paths},
    )
