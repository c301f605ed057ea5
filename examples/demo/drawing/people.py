"""A whole person, and a portrait."""

import math
from random import Random

from .pen import BLACK, WHITE, Colour, Pen, any_colour, darker, near

_SKINS: list[Colour] = [
    (246, 212, 184),
    (224, 172, 130),
    (186, 126, 84),
    (132, 84, 56),
    (96, 62, 44),
]
_HAIR: list[Colour] = [(40, 30, 26), (90, 58, 34), (206, 164, 88), (150, 70, 36), (170, 170, 172)]


def person(pen: Pen, rng: Random) -> None:
    """A whole figure, standing, walking or waving."""
    skin, hair = near(rng, rng.choice(_SKINS), 8), near(rng, rng.choice(_HAIR), 10)
    shirt, trousers = any_colour(rng, 30, 235), any_colour(rng, 20, 170)
    stride = rng.uniform(0.1, 0.3)
    for side in (-1, 1):
        foot = (stride * side, 0.9)
        pen.stroke([(0.1 * side, 0.2), (stride * 0.8 * side, 0.56), foot], 0.17, trousers)
        pen.oval((foot[0] + 0.06, 0.94), (0.13, 0.06), BLACK)
        raised = rng.random() < 0.35
        elbow = (0.38 * side, -0.32 if raised else 0.02)
        hand = ((0.52 if raised else 0.36) * side, -0.66 if raised else 0.26)
        pen.stroke([(0.2 * side, -0.32), elbow, hand], 0.13, shirt)
        pen.dot(hand, 0.085, skin)
    if rng.random() < 0.35:
        pen.polygon([(-0.2, -0.4), (0.2, -0.4), (0.36, 0.5), (-0.36, 0.5)], shirt)
    else:
        pen.blob([(-0.24, -0.38), (0, -0.44), (0.24, -0.38), (0.22, 0.24), (-0.22, 0.24)], shirt)
    pen.stroke([(0, -0.42), (0, -0.52)], 0.12, skin)
    if rng.random() < 0.4:
        pen.oval((0, -0.64), (0.25, 0.32), hair)
    pen.oval((0, -0.72), (0.21, 0.24), hair)
    pen.oval((0, -0.67), (0.175, 0.2), skin)
    for side in (-1, 1):
        pen.dot((0.07 * side, -0.69), 0.026, BLACK)
    pen.stroke([(-0.06, -0.58), (0, -0.56), (0.06, -0.58)], 0.024, (170, 60, 60))


def face(pen: Pen, rng: Random) -> None:
    """A portrait: hair, eyes, nose and mouth, shoulders below."""
    skin, hair = near(rng, rng.choice(_SKINS), 8), near(rng, rng.choice(_HAIR), 10)
    shirt = any_colour(rng)
    if rng.random() < 0.45:
        pen.blob(
            [(-0.66, -0.5), (0, -0.92), (0.66, -0.5), (0.72, 0.5), (0, 0.4), (-0.72, 0.5)], hair
        )
    pen.blob([(-0.9, 1.1), (-0.6, 0.76), (0, 0.66), (0.6, 0.76), (0.9, 1.1)], shirt)
    pen.stroke([(0, 0.5), (0, 0.78)], 0.34, darker(skin, 0.12))
    for side in (-1, 1):
        pen.oval((0.54 * side, 0.0), (0.1, 0.16), skin)
    pen.oval((0, -0.3), (0.58, 0.58), hair)
    pen.oval((0, 0.0), (0.52, 0.64), skin)
    fringe = rng.uniform(-0.3, -0.2)
    pen.blob(
        [
            (-0.54, -0.2),
            (-0.44, -0.62),
            (0, -0.82),
            (0.44, -0.62),
            (0.54, -0.2),
            (0.3, fringe - 0.12),
            (-0.1, fringe - 0.06),
        ],
        hair,
        edge=False,
    )
    gaze = rng.uniform(-0.03, 0.03)
    for side in (-1, 1):
        pen.oval((0.21 * side, -0.04), (0.115, 0.075), WHITE)
        pen.dot((0.21 * side + gaze, -0.04), 0.06, near(rng, (70, 90, 100), 30))
        pen.dot((0.21 * side + gaze, -0.04), 0.03, BLACK)
        pen.stroke(
            [(0.1 * side, -0.17), (0.22 * side, -0.21), (0.33 * side, -0.16)],
            0.04,
            darker(hair, 0.2),
        )
    pen.stroke([(0.0, 0.0), (0.05, 0.18), (-0.03, 0.2)], 0.03, darker(skin, 0.3))
    smile = rng.uniform(-0.02, 0.1)
    pen.stroke(
        [(-0.19, 0.36 - smile * 0.5), (0, 0.38 + smile), (0.19, 0.36 - smile * 0.5)],
        0.055,
        (186, 70, 74),
    )
    if rng.random() < 0.25:
        for side in (-1, 1):
            rim = [
                (0.21 * side + 0.15 * math.cos(t * 0.4), -0.04 + 0.13 * math.sin(t * 0.4))
                for t in range(17)
            ]
            pen.stroke(rim, 0.025, BLACK, curved=False)
        pen.stroke([(-0.07, -0.05), (0.07, -0.05)], 0.025, BLACK)
