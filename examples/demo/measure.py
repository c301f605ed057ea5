"""How well the demo models do on drawings that they have not seen.

    python examples/demo/measure.py

It computes with ONNX Runtime, Pillow and tokenizers alone, as a server of the demo does,
and applies the rule of smart_classify: scene first, then species where the scene is an animal.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from draw import ANIMALS, OTHERS, SUBJECTS, Look, Subject, draw
from PIL import Image, ImageDraw
from tokenizers import Tokenizer

MODELS = Path(__file__).resolve().parent / "models"
# The prompts of preset oct2025 by the label that a caller sees, and what the others differ in.
SCENES: dict[str, str] = {
    "person": "a photo of a person",
    "animal": "a photo of an animal",
    "vehicle": "a photo of a vehicle",
    "food": "a photo of food",
    "building": "a photo of a building",
    "nature": "a photo of nature",
    "object": "a photo of an object",
    "landscape": "a photo of a landscape",
}
AUG2025: dict[str, str] = {
    "animal": "a photo of an animal",
    "bird": "a photo of a bird",
    "insect": "a photo of an insect",
    "human-made object": "a photo of a human-made object",
    "landscape": "a photo of a landscape",
    "abstract painting": "an abstract painting",
}
ROUTED = "animal"
_ROUTES = frozenset({"animal", "bird", "insect"})
THRESHOLD, MARGIN = 0.5, 0.1
# Training draws seeds from 0, expected.json from 500,000; measuring begins beyond both.
FIRST_UNSEEN_SEED = 2_000_000

Vectors = npt.NDArray[np.float32]


class Towers:
    """The two ONNX graphs of one demo model with their tokenizer and preprocessing."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load the model in `folder`."""
        self.info = json.loads((folder / "model_info.json").read_text())
        self.folder = folder
        lumen = self.info["extra_metadata"]["lumen"]
        self.logit_scale: float = lumen["logit_scale"]
        self._context_length: int = lumen["context_length"]
        self._preprocess = lumen["preprocess"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._vision, self._text = (
            onnxruntime.InferenceSession(
                str(folder / "onnx" / f"{tower}.fp16.onnx"),
                options,
                providers=["CPUExecutionProvider"],
            )
            for tower in ("vision", "text")
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def pixels(self, picture: Image.Image) -> Vectors:
        """Return float32 [3, S, S]: shortest side to S, centre cut, normalised."""
        size: int = self._preprocess["size"]
        picture = picture.convert("RGB")
        scale = size / min(picture.size)
        width, height = (max(size, round(side * scale)) for side in picture.size)
        left, top = round((width - size) / 2), round((height - size) / 2)
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        cut = np.asarray(resized.crop((left, top, left + size, top + size)), np.float32) / 255
        mean, std = (np.asarray(self._preprocess[key], np.float32) for key in ("mean", "std"))
        return np.ascontiguousarray(((cut - mean) / std).transpose(2, 0, 1))

    def images(self, pictures: Iterable[Image.Image]) -> Vectors:
        """Return unit float32 [n, 128] of the pictures."""
        batch = np.stack([self.pixels(picture) for picture in pictures])
        return _unit(self._vision.run(["image_embedding"], {"pixel_values": batch})[0])

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Return unit float32 [n, 128] of the texts."""
        ids = np.zeros((len(texts), self._context_length), np.int64)
        for row, encoding in enumerate(self._tokenizer.encode_batch(list(texts))):
            kept = encoding.ids[: self._context_length]
            kept[-1] = encoding.ids[-1]
            ids[row, : len(kept)] = kept
        return _unit(self._text.run(["text_embedding"], {"input_ids": ids})[0])

    def shares(self, images: Vectors, texts: Vectors) -> Vectors:
        """Return softmax(logit_scale * cosine) over the texts, [images, texts]."""
        logits = self.logit_scale * images @ texts.T
        powers = np.exp(logits - logits.max(1, keepdims=True))
        shares: Vectors = powers / powers.sum(1, keepdims=True)
        return shares


def _unit(vectors: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


@dataclass(frozen=True, slots=True)
class Answer:
    """What smart_classify says: the source, the best label, and the shares that decided it."""

    source: str
    label: str
    routed_share: float
    best_other_share: float


class Cascade:
    """smart_classify over the two demo models."""

    def __init__(
        self, models: Path = MODELS, threads: int = 1, scenes: dict[str, str] = SCENES
    ) -> None:
        """Load both models from `models`; `scenes` maps labels to prompts."""
        self.clip = Towers(models / "demo-clip", threads)
        self.bioclip = Towers(models / "demo-bioclip", threads)
        self._scenes = list(scenes)
        self._scene_vectors = self.clip.texts(list(scenes.values()))
        dataset = self.bioclip.info["datasets"]["drawn-species"]
        folder = self.bioclip.folder
        self._species = [name for _, name in json.loads((folder / dataset["labels"]).read_text())]
        self._species_vectors: Vectors = np.load(folder / dataset["embeddings"])

    def answers(self, pictures: Sequence[Image.Image]) -> list[Answer]:
        """Return one answer a picture."""
        scenes = self.clip.shares(self.clip.images(pictures), self._scene_vectors)
        species = self.bioclip.shares(self.bioclip.images(pictures), self._species_vectors)
        return [self._answer(*rows) for rows in zip(scenes, species, strict=True)]

    def _answer(self, scene: Vectors, species: Vectors) -> Answer:
        share = dict(zip(self._scenes, scene.tolist(), strict=True))
        routed = sum(value for name, value in share.items() if name in _ROUTES)
        other = max(value for name, value in share.items() if name not in _ROUTES)
        if routed >= THRESHOLD and routed - other >= MARGIN:
            name = self._species[int(species.argmax())]
            return Answer("bioclip_classification", name, routed, other)
        return Answer("scene_classification", max(share, key=share.__getitem__), routed, other)

    def objects(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Return what clip_classify says over the label set drawn-objects."""
        path = self.clip.folder / self.clip.info["datasets"]["drawn-objects"]["labels"]
        names: list[str] = json.loads(path.read_text())
        texts = self.clip.texts([f"a photo of a {name}" for name in names])
        return [names[i] for i in (self.clip.images(pictures) @ texts.T).argmax(1)]


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares of right answers (0 to 1), and how many non-animals went to BioCLIP."""

    scene: float
    species: float
    objects: float
    strays: int
    animals: int
    others: int


def measure(cascade: Cascade, look: Look, seeds: range) -> Figures:
    """Draw every subject with every seed and compare what the models say with what was drawn."""
    scenes = species = names = strays = 0
    for subject in SUBJECTS:
        pictures = [draw(subject, seed, look) for seed in seeds]
        names += sum(name == subject.name for name in cascade.objects(pictures))
        for answer in cascade.answers(pictures):
            delegated = answer.source == "bioclip_classification"
            scenes += (ROUTED if delegated else answer.label) == subject.scene
            species += delegated and answer.label == subject.name
            strays += delegated and subject.lineage is None
    animals, others = len(ANIMALS) * len(seeds), len(OTHERS) * len(seeds)
    total = animals + others
    return Figures(scenes / total, species / animals, names / total, strays, animals, others)


def confusions(cascade: Cascade, look: Look, seeds: range) -> list[str]:
    """Return a line for each wrong end result, as `subject seed: answer`."""
    lines = []
    for subject in SUBJECTS:
        answers = cascade.answers([draw(subject, seed, look) for seed in seeds])
        for seed, answer in zip(seeds, answers, strict=True):
            if answer.label != _right(subject):
                lines.append(f"{subject.name} {seed}: {answer.label} ({answer.source})")
    return lines


def _right(subject: Subject) -> str:
    return subject.name if subject.lineage else subject.scene


def nonsense() -> dict[str, Image.Image]:
    """Return pictures of nothing that the models know."""
    page = Image.new("RGB", (256, 256), "white")
    lines = "\n".join("The quick brown fox jumps over the lazy dog." for _ in range(16))
    ImageDraw.Draw(page).multiline_text((8, 8), lines, fill="black")
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    return {
        "grey": Image.new("RGB", (256, 256), (128, 128, 128)),
        "noise": Image.fromarray(noise),
        "a page of text": page,
    }


def main() -> None:
    """Print the figures for both styles, and what is said of pictures of nothing known."""
    parser = argparse.ArgumentParser(description="Measure the demo models on unseen drawings.")
    parser.add_argument("--models", type=Path, default=MODELS, help="(%(default)s)")
    parser.add_argument("--seeds", type=int, default=20, help="pictures a subject (%(default)s)")
    parser.add_argument("--wrong", action="store_true", help="list what was answered wrongly")
    options = parser.parse_args()
    cascade = Cascade(options.models)
    seeds = range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + options.seeds)
    print("style    scene   species  36 names  non-animals sent to BioCLIP")
    for look in Look:
        f = measure(cascade, look, seeds)
        print(
            f"{look:<8} {f.scene:6.1%}  {f.species:6.1%}   {f.objects:6.1%}"
            f"   {f.strays} of {f.others}"
        )
        if options.wrong:
            print("\n".join(confusions(cascade, look, seeds)))
    f = measure(Cascade(options.models, scenes=AUG2025), Look.SEEN, seeds)
    print(f"\npreset aug2025: species {f.species:.1%}, sent to BioCLIP {f.strays} of {f.others}")
    print("\npictures of nothing it knows")
    things = nonsense()
    for name, answer in zip(things, cascade.answers(list(things.values())), strict=True):
        print(
            f"{name:<16} {answer.label} ({answer.source}), animal {answer.routed_share:.2f},"
            f" best other {answer.best_other_share:.2f}"
        )


if __name__ == "__main__":
    main()
