"""Make the demo models: draw, train, export, pack, measure.

    python examples/demo/train.py --out examples/demo/models

It takes about ten minutes on two CPU threads and needs requirements-train.txt
(`make demo-train` sees to that). Drawings and captions are the same on every machine;
trained weights agree to rounding only, so digests change from one CPU to another.
"""

import argparse
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from draw import ABSTRACT, ANIMALS, SUBJECTS
from measure import Cascade, Look, measure
from training.bpe import (
    CONTEXT_LENGTH,
    build_tokenizer,
    learn_merges,
    open_clip_tokenizer,
    token_ids,
    vocabulary,
)
from training.captions import Captions, scene_captions, species_captions
from training.fitting import Plan, fit, model_config
from training.packing import Trained, pack
from training.pictures import drawn_pictures
from training.shipped import ship_pictures

HERE = Path(__file__).resolve().parent
_MERGES = 600
_MEASURED_SEEDS = range(2_000_000, 2_000_020)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What tells one demo model from the other."""

    name: str
    model_type: str
    description: str
    captions: Captions
    subjects: tuple[str, ...]
    steps: int
    seed: int


def recipes(scale: float) -> list[Recipe]:
    """Return both recipes, with their steps multiplied by `scale`."""
    clip = Recipe(
        "demo-clip",
        "clip",
        "A small CLIP model that knows 36 kinds of drawings and eight scenes. "
        "For demonstrations and tests: it knows drawings, not photographs.",
        scene_captions(),
        tuple(subject.name for subject in (*SUBJECTS, ABSTRACT)),
        round(900 * scale),
        1,
    )
    bioclip = Recipe(
        "demo-bioclip",
        "bioclip",
        "A small BioCLIP-like model that knows drawings of 14 species by common name, "
        "scientific name and lineage. For demonstrations and tests: no photographs.",
        species_captions(),
        tuple(animal.name for animal in ANIMALS),
        round(360 * scale),
        2,
    )
    return [clip, bioclip]


def main() -> None:
    """Make both models, the shipped pictures, and print what was reached."""
    options = _options()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(options.threads)
    both = recipes(options.scale)
    merges = learn_merges([text for recipe in both for text in recipe.captions.texts], _MERGES)
    tokenizer = build_tokenizer(merges)
    texts = [text for recipe in both for text in recipe.captions.texts]
    _check_tokenizer(merges, texts)
    pictures = drawn_pictures(
        [*SUBJECTS, ABSTRACT], range(options.seeds), options.threads, options.pictures
    )
    config = model_config(len(vocabulary(merges)))
    for recipe in both:
        plan = Plan(recipe.name, recipe.captions, recipe.steps, recipe.seed)
        mine = {name: pictures[name] for name in recipe.subjects}
        model = fit(plan, config, mine, lambda texts: token_ids(tokenizer, texts))
        folder = options.out / recipe.name
        shutil.rmtree(folder, ignore_errors=True)
        trained = Trained(
            recipe.name, recipe.model_type, recipe.description, model, config, tokenizer
        )
        pack(trained, folder)
        if options.checkpoints is not None:
            options.checkpoints.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), options.checkpoints / f"{recipe.name}.pt")
    cascade = Cascade(options.out, options.threads)
    ship_pictures(cascade, options.shipped)
    for look in Look:
        print(f"{look}: {measure(cascade, look, _MEASURED_SEEDS)}")


def _check_tokenizer(merges: list[tuple[str, str]], texts: list[str]) -> None:
    """Refuse a tokenizer.json that splits any caption otherwise than open_clip would."""
    texts = [*texts, "Äpfel & Öl: 1,234 pieces!", "  A  PHOTO\n of a Cat's tail "]
    with tempfile.TemporaryDirectory() as folder:
        theirs = open_clip_tokenizer(merges, Path(folder))(texts, CONTEXT_LENGTH).numpy()
    if not np.array_equal(theirs, token_ids(build_tokenizer(merges), texts)):
        raise RuntimeError("tokenizer.json and open_clip disagree: was a library updated?")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the demo models.")
    parser.add_argument("--out", type=Path, default=HERE / "models", help="(%(default)s)")
    parser.add_argument(
        "--shipped", type=Path, default=HERE.parent / "pictures", help="the demo's pictures"
    )
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=400, help="pictures a subject (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the training steps")
    parser.add_argument("--pictures", type=Path, help="keep the drawn pictures in this .npz")
    parser.add_argument("--checkpoints", type=Path, help="keep the state dicts in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
