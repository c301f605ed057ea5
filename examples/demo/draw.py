"""Draw the demo models' world: 36 kinds of picture, seeded, in any number.

`draw(subject, seed)` is what training and tests call; the command line draws sheets and pictures:

    python examples/demo/draw.py sheet --out sheet.png
    python examples/demo/draw.py picture monarch --seed 7 --out monarch.png

The same subject, seed and style give the same picture, to the byte.
Pictures of the style `seen` are what the models were trained on (other seeds);
the style `unseen` (ink and wash on paper) was never trained on and shows how far they carry.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from drawing import (
    backgrounds,
    birds_cat,
    buildings,
    fishes_reptiles,
    food,
    household,
    insects,
    invertebrates,
    nature,
    people,
    scenes,
    vehicles,
)
from drawing.pen import Pen, Pose, Style, near
from PIL import Image, ImageFilter

SIDE = 256
# Drawn at twice the size and halved: Pillow's shapes have no soft edges of their own.
_CANVAS = 2 * SIDE


class Look(StrEnum):
    """The style of a picture."""

    SEEN = "seen"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Subject:
    """One kind of picture: its name, its scene in preset oct2025, how it is drawn.

    `turn` is the largest rotation in degrees; `whole` means that it fills the picture.
    `lineage` is (kingdom, phylum, class, order, family, genus, epithet) of an animal.
    """

    name: str
    scene: str
    paint: Callable[[Pen, Random], None]
    turn: float = 10.0
    whole: bool = False
    lineage: tuple[str, ...] | None = None


def _animal(name: str, paint: Callable[[Pen, Random], None], turn: float, lineage: str) -> Subject:
    return Subject(name, "animal", paint, turn, lineage=("Animalia", *lineage.split()))


ANIMALS: tuple[Subject, ...] = (
    _animal(
        "monarch", insects.monarch, 60,
        "Arthropoda Insecta Lepidoptera Nymphalidae Danaus plexippus",
    ),
    _animal(
        "blue morpho", insects.blue_morpho, 60,
        "Arthropoda Insecta Lepidoptera Nymphalidae Morpho peleides",
    ),
    _animal(
        "honey bee", insects.honey_bee, 25,
        "Arthropoda Insecta Hymenoptera Apidae Apis mellifera",
    ),
    _animal(
        "seven-spot ladybird", insects.seven_spot_ladybird, 90,
        "Arthropoda Insecta Coleoptera Coccinellidae Coccinella septempunctata",
    ),
    _animal(
        "garden snail", invertebrates.garden_snail, 12,
        "Mollusca Gastropoda Stylommatophora Helicidae Cornu aspersum",
    ),
    _animal(
        "common octopus", invertebrates.common_octopus, 25,
        "Mollusca Cephalopoda Octopoda Octopodidae Octopus vulgaris",
    ),
    _animal(
        "starfish", invertebrates.starfish, 180,
        "Echinodermata Asteroidea Forcipulatida Asteriidae Asterias rubens",
    ),
    _animal(
        "clownfish", fishes_reptiles.clownfish, 20,
        "Chordata Actinopterygii Perciformes Pomacentridae Amphiprion ocellaris",
    ),
    _animal(
        "goldfish", fishes_reptiles.goldfish, 20,
        "Chordata Actinopterygii Cypriniformes Cyprinidae Carassius auratus",
    ),
    _animal(
        "grass snake", fishes_reptiles.grass_snake, 35,
        "Chordata Reptilia Squamata Colubridae Natrix natrix",
    ),
    _animal(
        "green turtle", fishes_reptiles.green_turtle, 60,
        "Chordata Reptilia Testudines Cheloniidae Chelonia mydas",
    ),
    _animal(
        "robin", birds_cat.robin, 12,
        "Chordata Aves Passeriformes Muscicapidae Erithacus rubecula",
    ),
    _animal(
        "penguin", birds_cat.penguin, 12,
        "Chordata Aves Sphenisciformes Spheniscidae Aptenodytes forsteri",
    ),
    _animal(
        "cat", birds_cat.cat, 10,
        "Chordata Mammalia Carnivora Felidae Felis catus",
    ),
)  # fmt: skip

OTHERS: tuple[Subject, ...] = (
    Subject("person", "person", people.person),
    Subject("face", "person", people.face),
    Subject("car", "vehicle", vehicles.car),
    Subject("truck", "vehicle", vehicles.truck),
    Subject("boat", "vehicle", vehicles.boat),
    Subject("bicycle", "vehicle", vehicles.bicycle),
    Subject("apple", "food", food.apple, 25),
    Subject("pizza", "food", food.pizza, 180),
    Subject("ice cream", "food", food.ice_cream, 25),
    Subject("house", "building", buildings.house, 4),
    Subject("skyscraper", "building", buildings.skyscraper, 4),
    Subject("castle", "building", buildings.castle, 4),
    Subject("tree", "nature", nature.tree, 6),
    Subject("flower", "nature", nature.flower, 20),
    Subject("mushroom", "nature", nature.mushroom, 15),
    Subject("mountains", "landscape", scenes.mountains, 3, whole=True),
    Subject("sea", "landscape", scenes.sea, 3, whole=True),
    Subject("desert", "landscape", scenes.desert, 3, whole=True),
    Subject("cup", "object", household.cup),
    Subject("lamp", "object", household.lamp),
    Subject("clock", "object", household.clock, 25),
    Subject("chair", "object", household.chair),
)

SUBJECTS: tuple[Subject, ...] = ANIMALS + OTHERS
# Trained on, so that an abstract painting has a place to go, but not one of the named things.
ABSTRACT = Subject("abstract painting", "", scenes.abstract, 180, whole=True)
BY_NAME: dict[str, Subject] = {subject.name: subject for subject in (*SUBJECTS, ABSTRACT)}


def draw(subject: Subject, seed: int, look: Look = Look.SEEN) -> Image.Image:
    """Return the picture of that subject and seed: RGB, 256 by 256."""
    rng = Random(f"{look}/{subject.name}/{seed}")
    canvas = _background(subject, look, rng)
    pen = Pen(canvas, _pose(subject, rng), _style(look, rng), rng)
    subject.paint(pen, rng)
    picture = canvas.reduce(2)
    if look is Look.UNSEEN and rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))
    return picture


def _background(subject: Subject, look: Look, rng: Random) -> Image.Image:
    if subject.whole and subject is not ABSTRACT:
        return backgrounds.sky(rng, _CANVAS)
    if look is Look.UNSEEN and rng.random() < 0.7:
        return backgrounds.paper(rng, _CANVAS)
    return rng.choice(backgrounds.ANYWHERE)(rng, _CANVAS)


def _pose(subject: Subject, rng: Random) -> Pose:
    half = _CANVAS / 2
    size = rng.uniform(0.98, 1.08) if subject.whole else rng.uniform(0.55, 0.92)
    room = 0.06 if subject.whole else (1 - size) * 0.8
    centre = (half * (1 + rng.uniform(-room, room)), half * (1 + rng.uniform(-room, room)))
    stretch = rng.uniform(0.9, 1.1)
    angle = math.radians(rng.uniform(-subject.turn, subject.turn))
    scale = (half * size * stretch, half * size / stretch)
    return Pose(centre, scale, angle, mirrored=rng.random() < 0.5)


def _style(look: Look, rng: Random) -> Style:
    ink = near(rng, (34, 30, 34), 14)
    if look is Look.UNSEEN:
        width = rng.uniform(0.03, 0.055)
        return Style(ink, width, wobble=rng.uniform(0.004, 0.012), wash=rng.uniform(0.15, 0.45))
    if rng.random() < 0.5:
        return Style()
    return Style(ink, rng.uniform(0.01, 0.03))


def sheet(look: Look, first_seed: int, per_subject: int = 3, tile: int = 128) -> Image.Image:
    """Return a contact sheet: `per_subject` pictures of every subject, in four columns."""
    subjects = [*SUBJECTS, ABSTRACT]
    columns = 4
    rows = -(-len(subjects) // columns)
    page = Image.new("RGB", (columns * per_subject * tile, rows * tile))
    for index, subject in enumerate(subjects):
        row, column = divmod(index, columns)
        for number in range(per_subject):
            picture = draw(subject, first_seed + number, look).resize((tile, tile))
            page.paste(picture, ((column * per_subject + number) * tile, row * tile))
    return page


def main() -> None:
    """Draw one picture or a contact sheet to a file."""
    parser = argparse.ArgumentParser(description="Draw what the demo models know.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("picture", help="one picture of one subject")
    one.add_argument("name", choices=sorted(BY_NAME))
    many = commands.add_parser("sheet", help="a few pictures of every subject")
    for command in (one, many):
        command.add_argument("--seed", type=int, default=1_000_000, help="(default: %(default)s)")
        command.add_argument("--look", type=Look, choices=list(Look), default=Look.SEEN)
        command.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    if options.command == "picture":
        picture = draw(BY_NAME[options.name], options.seed, options.look)
    else:
        picture = sheet(options.look, options.seed)
    picture.save(options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
