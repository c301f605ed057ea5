"""Fit open_clip's own CLIP class to drawings and captions, on a CPU."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import nn
from torch.nn import functional

from training.captions import Captions
from training.pictures import SIZE, batches, varied
from training.progress import Progress

EMBEDDING_DIM = 128
BATCH = 192
# Training settles near 16, since several captions of a batch share one picture's probability.
# On unseen seeds the log loss over 36 names falls until 30 and hardly after; on an unseen style
# every further step makes wrong answers surer.
LOGIT_SCALE = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How one model is trained."""

    name: str
    captions: Captions
    steps: int
    seed: int
    learning_rate: float = 2e-3


def model_config(vocabulary_size: int) -> dict[str, object]:
    """Return open_clip's model_cfg: a small ResNet tower and a two-layer text tower."""
    return {
        "embed_dim": EMBEDDING_DIM,
        "vision_cfg": {
            "layers": [2, 2, 2, 2],
            "width": 16,
            "head_width": 64,
            "image_size": SIZE,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": vocabulary_size,
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def preprocess_config() -> dict[str, object]:
    """Return open_clip's preprocess_cfg."""
    return {
        "size": SIZE,
        "mode": "RGB",
        "mean": list(OPENAI_DATASET_MEAN),
        "std": list(OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }


def fit(
    plan: Plan,
    config: dict[str, object],
    pictures: dict[str, np.ndarray],
    tokenize: Callable[[list[str]], np.ndarray],
) -> open_clip.CLIP:
    """Return a trained model in evaluation mode."""
    torch.manual_seed(plan.seed)
    generator = torch.Generator().manual_seed(plan.seed)
    rng = Random(plan.seed)
    # Channels last halves the time of narrow convolutions on a CPU.
    model = open_clip.CLIP(**config).train().to(memory_format=torch.channels_last)
    optimizer = _optimizer(model, plan.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.learning_rate, total_steps=plan.steps, pct_start=0.08
    )
    mean = torch.tensor(OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(OPENAI_DATASET_STD).view(1, 3, 1, 1)
    tokens = torch.from_numpy(tokenize(plan.captions.texts))
    progress = Progress(plan.name, plan.steps)
    stream = batches(pictures, BATCH, generator)
    loss_value = 0.0
    for step in range(1, plan.steps + 1):
        names, batch = next(stream)
        chosen = [plan.captions.pick(name, rng) for name in names]
        truth = _truth(plan.captions, chosen, names)
        pixels = (varied(batch, generator) - mean) / std
        images = model.encode_image(pixels.contiguous(memory_format=torch.channels_last))
        texts = _encode_text(model, tokens[chosen])
        logits = model.logit_scale.exp() * _unit(images) @ _unit(texts).T
        loss = (_cross_entropy(logits, truth) + _cross_entropy(logits.T, truth.T)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loss_value = 0.9 * loss_value + 0.1 * loss.item() if step > 1 else loss.item()
        progress.at(step, f"loss {loss_value:.3f}")
    progress.end(f"loss {loss_value:.3f}, learned logit scale {model.logit_scale.exp().item():.1f}")
    with torch.no_grad():
        model.logit_scale.fill_(math.log(LOGIT_SCALE))
    return model.to(memory_format=torch.contiguous_format).eval()


def _optimizer(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))


def _truth(captions: Captions, chosen: list[int], names: list[str]) -> torch.Tensor:
    """Return [pictures, captions]: how true each caption is of each picture."""
    kinds = sorted(set(names))
    column = {name: index for index, name in enumerate(kinds)}
    table = torch.tensor([[captions.truth[i].get(kind, 0.0) for kind in kinds] for i in chosen])
    return table[:, [column[name] for name in names]].T


def _cross_entropy(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    target = truth / truth.sum(1, keepdim=True).clamp(min=1e-6)
    return -(target * functional.log_softmax(logits, dim=1)).sum(1).mean()


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return functional.normalize(vectors.float(), dim=-1)


def _encode_text(model: open_clip.CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Do what model.encode_text does, without the padding after the longest text.

    Attention is causal and the end token is what counts, so nothing changes but the time.
    """
    length = int((tokens != 0).sum(1).max())
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)
    pooled = x[torch.arange(len(x)), tokens.argmax(-1)]
    return pooled @ model.text_projection
