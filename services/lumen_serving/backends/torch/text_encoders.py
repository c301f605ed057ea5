"""Text encoders of other makers inside a model, configured from their weights.

open_clip's multilingual models and M-CLIP name an encoder of a hub (`xlm-roberta-base`, NLLB) and
expect its configuration from there. Nothing is asked of a hub here: sizes are those of the weights,
and what no weight tells is the same for all encoders of a kind.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lumen_resources.errors import ResourceValidationError, RuntimeNotSupportedError
from lumen_serving.backends.torch.architecture import bounded

Shapes = Mapping[str, tuple[int, ...]]
# All of these have heads of this width.
_HEAD_WIDTH = 64


@dataclass(frozen=True, slots=True)
class EncoderKind:
    """What the encoders of a kind share (transformers' names), and how sizes are read off."""

    names: re.Pattern[str]
    shared: Mapping[str, Any]
    sizes: Callable[[Shapes], dict[str, int]]


def _bert_sizes(shapes: Shapes) -> dict[str, int]:
    vocabulary, width = shapes["embeddings.word_embeddings.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_attention_heads": width // _HEAD_WIDTH,
        "num_hidden_layers": _layers(shapes, "encoder.layer.{}.attention.self.query.weight"),
        "intermediate_size": shapes["encoder.layer.0.intermediate.dense.weight"][0],
        "max_position_embeddings": shapes["embeddings.position_embeddings.weight"][0],
        "type_vocab_size": shapes["embeddings.token_type_embeddings.weight"][0],
    }


def _m2m_sizes(shapes: Shapes) -> dict[str, int]:
    vocabulary, width = shapes["embed_tokens.weight"]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "encoder_attention_heads": width // _HEAD_WIDTH,
        "encoder_layers": _layers(shapes, "layers.{}.self_attn.q_proj.weight"),
        "encoder_ffn_dim": shapes["layers.0.fc1.weight"][0],
        # The half that translates is not in the weights and is dropped at once.
        "decoder_attention_heads": width // _HEAD_WIDTH,
        "decoder_layers": 0,
    }


def _layers(shapes: Shapes, name: str) -> int:
    count = 0
    while name.format(count) in shapes:
        count += 1
    return count


_ROBERTA = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
_KINDS = (
    EncoderKind(
        re.compile(r"(FacebookAI/)?xlm-roberta-(base|large)|facebook/xlm-v-base", re.IGNORECASE),
        {"model_type": "xlm-roberta", **_ROBERTA},
        _bert_sizes,
    ),
    EncoderKind(
        re.compile(r"(FacebookAI/)?roberta-(base|large)", re.IGNORECASE),
        {"model_type": "roberta", **_ROBERTA},
        _bert_sizes,
    ),
    EncoderKind(
        re.compile(r"facebook/nllb-200-(distilled-)?[0-9.]+[BM]", re.IGNORECASE),
        {
            "model_type": "m2m_100",
            "activation_function": "relu",
            "scale_embedding": True,
            "max_position_embeddings": 1024,
            "pad_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
        },
        _m2m_sizes,
    ),
    EncoderKind(
        re.compile(r"sentence-transformers/LaBSE|(google-bert/)?bert-base-multilingual-(un)?cased"),
        {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0},
        _bert_sizes,
    ),
)


def encoder_config(name: str, shapes: Shapes) -> dict[str, Any]:
    """Return transformers' configuration of the encoder called `name` whose weights are these.

    Raises:
        RuntimeNotSupportedError: no such encoder is known here.
        ResourceValidationError: the weights are not those of one.

    """
    kind = next((kind for kind in _KINDS if kind.names.fullmatch(name)), None)
    if kind is None:
        raise RuntimeNotSupportedError(
            f"The model's text tower is {name[:100]!r}, which torch is not taught here.",
            remedy="Take ONNX files of the model, with runtime onnx; or a model with another text "
            "tower: XLM-RoBERTa, RoBERTa, NLLB, LaBSE.",
        )
    try:
        encoder = {**kind.shared, **kind.sizes(shapes)}
    except (KeyError, ValueError, IndexError) as error:
        raise ResourceValidationError(
            f"The weights are not those of a text tower {name[:100]!r}: {error} is not there.",
            remedy="Use the configuration that the weights were published with.",
        ) from error
    # A tensor without an element may have edges of any length.
    bounded(encoder)
    return encoder


@contextmanager
def configured_folder(config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder that transformers reads this configuration from, and nothing else."""
    with TemporaryDirectory(prefix="lumen-encoder-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        yield Path(folder)
