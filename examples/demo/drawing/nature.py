"""A tree, a flower and a mushroom."""

import math
from random import Random

from .pen import Pen, darker, lighter, near


def tree(pen: Pen, rng: Random) -> None:
    """A broad-leaved tree or a conifer."""
    bark, leaf = (
        near(rng, (112, 78, 48), 14),
        near(rng, rng.choice([(70, 136, 60), (96, 150, 54), (52, 108, 66), (190, 130, 50)]), 16),
    )
    if rng.random() < 0.35:
        pen.box((-0.09, 0.5), (0.09, 0.96), bark)
        for top, half in ((-0.1, 0.66), (-0.48, 0.52), (-0.92, 0.36)):
            pen.polygon([(-half, top + 0.7), (0, top), (half, top + 0.7)], darker(leaf, 0.15))
        return
    pen.taper([(0, 0.98), (0.01, 0.5), (0, 0.0)], (0.26, 0.16), bark)
    pen.stroke([(0, 0.4), (-0.28, 0.0)], 0.08, bark)
    pen.stroke([(0, 0.34), (0.28, -0.04)], 0.08, bark)
    puffs = [(-0.44, -0.06), (0.44, -0.08), (-0.28, -0.48), (0.3, -0.5), (0.0, -0.6), (0.0, -0.14)]
    for x, y in puffs:
        size = rng.uniform(0.32, 0.42)
        pen.oval((x, y), (size, size * 0.9), darker(leaf, rng.uniform(0.0, 0.18)))
    for _ in range(16):
        x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.85, 0.1)
        pen.dot((x, y), 0.05, lighter(leaf, 0.2))


def flower(pen: Pen, rng: Random) -> None:
    """A single blossom on a stem with two leaves."""
    green = near(rng, (76, 146, 62), 16)
    petal = near(
        rng,
        rng.choice(
            [
                (236, 78, 120),
                (250, 246, 240),
                (168, 92, 206),
                (250, 200, 50),
                (226, 52, 50),
                (110, 140, 236),
            ]
        ),
        12,
    )
    lean = rng.uniform(-0.1, 0.1)
    pen.stroke([(0, -0.3), (lean, 0.3), (0, 0.98)], 0.075, green)
    for side in (-1, 1):
        y = 0.5 + 0.1 * side
        pen.blob(
            [
                (lean * 0.6, y + 0.16),
                (0.26 * side, y - 0.1),
                (0.56 * side, y - 0.16),
                (0.3 * side, y + 0.12),
            ],
            green,
        )
    petals = rng.choice([6, 8, 10])
    turn = rng.uniform(0, 1)
    for index in range(petals):
        angle = turn + index * 2 * math.pi / petals
        centre = (0.34 * math.cos(angle), -0.36 + 0.34 * math.sin(angle))
        pen.oval(centre, (0.26, 1.0 / petals + 0.02), petal, angle=angle)
    heart = near(rng, (244, 190, 40) if petal[2] > 90 or petal[1] < 100 else (110, 66, 34), 12)
    pen.oval((0, -0.36), (0.18, 0.18), heart)
    for index in range(8):
        pen.dot(
            (0.1 * math.cos(index * 0.785), -0.36 + 0.1 * math.sin(index * 0.785)),
            0.022,
            darker(heart, 0.25),
        )


def mushroom(pen: Pen, rng: Random) -> None:
    """A spotted cap on a pale stem."""
    cap = near(rng, rng.choice([(204, 40, 36), (170, 104, 60), (200, 80, 40)]), 14)
    stem = near(rng, (238, 228, 208), 10)
    pen.blob(
        [(-0.18, -0.1), (0.18, -0.1), (0.2, 0.5), (0.28, 0.92), (-0.28, 0.92), (-0.2, 0.5)], stem
    )
    pen.oval((0, 0.0), (0.78, 0.16), darker(stem, 0.18))
    height = rng.uniform(0.76, 0.92)
    pen.blob(
        [
            (-0.86, 0.0),
            (-0.7, -0.46),
            (-0.3, -height),
            (0.3, -height),
            (0.7, -0.46),
            (0.86, 0.0),
            (0.4, -0.06),
            (-0.4, -0.06),
        ],
        cap,
    )
    pen.polygon([(-0.26, 0.22), (0.26, 0.22), (0.2, 0.34), (-0.2, 0.34)], darker(stem, 0.1))
    for x, y, size in (
        (-0.44, -0.3, 0.12),
        (0.0, -0.5, 0.14),
        (0.42, -0.32, 0.12),
        (-0.1, -0.18, 0.08),
        (0.2, -0.2, 0.07),
        (-0.22, -0.66, 0.08),
    ):
        pen.oval((x + rng.uniform(-0.04, 0.04), y), (size, size * 0.8), stem, edge=False)
