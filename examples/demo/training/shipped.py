"""The pictures that ship with the demo: drawn from held-out seeds, with what the models answer."""

import json
from pathlib import Path

from draw import ANIMALS, BY_NAME, draw
from measure import MARGIN, ROUTED, Answer, Cascade
from PIL import Image

from training.progress import Progress

FIRST_SEED = 500_000
# Clear enough that another decoder's last bit changes no answer.
_CLEAR = 0.9
_UNDECIDED_SEEDS = 400

_FILES: dict[str, str] = {
    "monarch.png": "monarch",
    "honey-bee.png": "honey bee",
    "snail.webp": "garden snail",
    "clownfish.png": "clownfish",
    "turtle.jpg": "green turtle",
    "robin.png": "robin",
    "penguin.webp": "penguin",
    "cat.jpg": "cat",
    "harbour.png": "boat",
    "pizza.png": "pizza",
    "castle.webp": "castle",
    "alps.jpg": "mountains",
}
_QUALITY = {".jpg": {"quality": 90}, ".webp": {"quality": 90}, ".png": {"optimize": True}}


def ship_pictures(cascade: Cascade, folder: Path) -> None:
    """Write the pictures and expected.json; nothing is chosen but for being clear or undecided."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {name: _ship(cascade, folder / name, subject) for name, subject in _FILES.items()}
    undecided = _undecided(cascade, folder)
    if undecided is not None:
        expected[undecided[0]] = undecided[1]
    answers = {
        name: {"source": answer.source, "label": answer.label} for name, answer in expected.items()
    }
    (folder / "expected.json").write_text(json.dumps(answers, indent=2) + "\n")


def _ship(cascade: Cascade, path: Path, name: str) -> Answer:
    subject = BY_NAME[name]
    right = name if subject.lineage else subject.scene
    for seed in range(FIRST_SEED, FIRST_SEED + 50):
        draw(subject, seed).save(path, **_QUALITY[path.suffix])
        with Image.open(path) as picture:
            answer = cascade.answers([picture])[0]
        sure = answer.routed_share if subject.lineage else 1 - answer.routed_share
        if answer.label == right and sure >= _CLEAR:
            return answer
    raise RuntimeError(f"no clear picture of {name} among 50: train longer")


def _undecided(cascade: Cascade, folder: Path) -> tuple[str, Answer] | None:
    """Find an animal that the first stage is in two minds about, if there is one."""
    progress = Progress("undecided", len(ANIMALS) * _UNDECIDED_SEEDS)
    seeds = range(FIRST_SEED, FIRST_SEED + _UNDECIDED_SEEDS)
    for row, subject in enumerate(ANIMALS):
        for column, seed in enumerate(seeds):
            picture = draw(subject, seed)
            answer = cascade.answers([picture])[0]
            lead = answer.routed_share - answer.best_other_share
            if answer.label == ROUTED and 0.2 * MARGIN < lead < 0.8 * MARGIN:
                name = f"undecided-{subject.name.replace(' ', '-')}.png"
                picture.save(folder / name, **_QUALITY[".png"])
                progress.end(f"found {name}, seed {seed}")
                return name, answer
            progress.at(row * len(seeds) + column + 1)
    progress.end("none found")
    return None
