"""Things of the house: a cup, a lamp, a clock and a chair."""

import math
from random import Random

from .pen import BLACK, Pen, any_colour, darker, lighter, near


def cup(pen: Pen, rng: Random) -> None:
    """A mug with a handle, steaming."""
    glaze = any_colour(rng, 50, 245)
    handle = [(0.5, -0.22), (0.84, -0.24), (0.9, 0.1), (0.76, 0.4), (0.46, 0.42)]
    pen.stroke(handle, 0.17, darker(glaze, 0.35))
    pen.stroke(handle, 0.12, darker(glaze, 0.1))
    pen.blob(
        [(-0.62, -0.4), (0.54, -0.4), (0.54, 0.1), (0.46, 0.68), (0.2, 0.8),
         (-0.28, 0.8), (-0.54, 0.68), (-0.62, 0.1)],
        glaze,
    )  # fmt: skip
    pen.oval((-0.04, -0.4), (0.59, 0.15), lighter(glaze, 0.4))
    pen.oval((-0.04, -0.38), (0.5, 0.1), near(rng, (84, 50, 30), 12), edge=False)
    if rng.random() < 0.5:
        pen.stroke([(-0.56, 0.2), (-0.04, 0.28), (0.5, 0.2)], 0.12, any_colour(rng))
    for x in (-0.28, 0.0, 0.24):
        bend = rng.uniform(0.06, 0.12)
        pen.stroke(
            [(x, -0.56), (x + bend, -0.68), (x - bend, -0.82), (x, -0.96)], 0.04, (226, 226, 228)
        )


def lamp(pen: Pen, rng: Random) -> None:
    """A table lamp: a shade on a stand."""
    shade, metal = any_colour(rng, 90, 245), near(rng, (110, 92, 70), 30)
    pen.oval((0, 0.86), (0.42, 0.1), metal)
    pen.taper([(0, 0.84), (0, 0.5), (0, -0.1)], (0.12, 0.07), metal)
    if rng.random() < 0.5:
        pen.oval((0, 0.5), (0.2, 0.26), any_colour(rng))
    pen.oval((0, -0.02), (0.14, 0.14), (255, 244, 180))
    flare = rng.uniform(0.56, 0.74)
    pen.polygon([(-0.32, -0.9), (0.32, -0.9), (flare, -0.06), (-flare, -0.06)], shade)
    pen.polygon(
        [(-0.06, -0.9), (0.12, -0.9), (flare * 0.35, -0.06), (-flare * 0.2, -0.06)],
        lighter(shade, 0.35),
        edge=False,
    )
    pen.stroke([(-flare, -0.06), (flare, -0.06)], 0.05, darker(shade, 0.3))
    pen.stroke([(0.3, -0.05), (0.3, 0.2)], 0.02, darker(metal, 0.3))
    pen.dot((0.3, 0.22), 0.035, darker(metal, 0.3))


def clock(pen: Pen, rng: Random) -> None:
    """A round dial with hour marks and two hands."""
    frame = any_colour(rng, 20, 220)
    dial = near(rng, (246, 243, 232), 8)
    if rng.random() < 0.4:
        for side in (-1, 1):
            pen.oval((0.46 * side, -0.82), (0.24, 0.17), darker(frame, 0.2), angle=0.5 * side)
            pen.stroke([(0.5 * side, 0.74), (0.66 * side, 0.98)], 0.1, darker(frame, 0.3))
    pen.oval((0, 0), (0.9, 0.9), frame)
    pen.oval((0, 0), (0.74, 0.74), dial)
    for hour in range(12):
        cos, sin = math.cos(hour * math.pi / 6), math.sin(hour * math.pi / 6)
        inner = 0.54 if hour % 3 == 0 else 0.61
        pen.stroke(
            [(inner * cos, inner * sin), (0.69 * cos, 0.69 * sin)],
            0.05 if hour % 3 == 0 else 0.03,
            BLACK,
        )
    for length, width, angle in (
        (0.36, 0.075, rng.uniform(0, 6.3)),
        (0.55, 0.05, rng.uniform(0, 6.3)),
    ):
        pen.stroke([(0, 0), (length * math.cos(angle), length * math.sin(angle))], width, BLACK)
    pen.dot((0, 0), 0.06, (190, 40, 40))


def chair(pen: Pen, rng: Random) -> None:
    """A kitchen chair, seen from a little to the side."""
    wood = near(
        rng,
        rng.choice([(160, 104, 56), (196, 150, 96), (110, 70, 44), (70, 110, 150), (190, 60, 50)]),
        16,
    )
    dark = darker(wood, 0.3)
    for x, y in ((-0.3, 0.72), (0.58, 0.66)):
        pen.stroke([(x, 0.1), (x, y)], 0.09, dark)
    pen.stroke([(-0.38, -0.94), (-0.44, 0.16)], 0.1, wood)
    pen.stroke([(0.28, -0.94), (0.28, 0.06)], 0.1, wood)
    if rng.random() < 0.5:
        for y in (-0.84, -0.58, -0.32):
            pen.stroke([(-0.38, y), (0.28, y)], 0.11, wood)
    else:
        pen.stroke([(-0.38, -0.86), (0.28, -0.86)], 0.15, wood)
        for x in (-0.22, -0.05, 0.12):
            pen.stroke([(x, -0.84), (x, 0.04)], 0.055, wood)
    pen.polygon([(-0.46, 0.04), (0.34, 0.0), (0.66, 0.2), (-0.3, 0.28)], lighter(wood, 0.2))
    pen.polygon([(-0.3, 0.28), (0.66, 0.2), (0.66, 0.3), (-0.3, 0.38)], wood)
    for x, y in ((-0.46, 0.88), (-0.26, 0.98), (0.62, 0.92)):
        pen.stroke([(x, 0.24), (x, y)], 0.095, wood)
