"""A car, a lorry, a sailing boat and a bicycle."""

import math
from random import Random

from .pen import BLACK, WHITE, Colour, Pen, any_colour, darker, lighter, near

_GLASS: Colour = (170, 210, 232)
_TYRE: Colour = (36, 36, 40)


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.oval((x, y), (radius, radius), _TYRE)
    pen.oval((x, y), (radius * 0.55, radius * 0.55), (190, 192, 196), edge=False)
    pen.dot((x, y), radius * 0.18, (90, 90, 96))


def car(pen: Pen, rng: Random) -> None:
    """A family car from the side."""
    paint = any_colour(rng)
    roof = rng.uniform(-0.42, -0.3)
    pen.polygon([(-0.58, -0.02), (-0.34, roof), (0.3, roof), (0.62, -0.02)], paint)
    glass = near(rng, _GLASS, 16)
    pen.polygon([(-0.46, -0.03), (-0.28, roof + 0.08), (-0.02, roof + 0.08), (-0.02, -0.03)], glass)
    pen.polygon([(0.06, -0.03), (0.06, roof + 0.08), (0.26, roof + 0.08), (0.48, -0.03)], glass)
    pen.blob(
        [(-0.98, 0.14), (-0.9, -0.02), (-0.55, -0.05), (0.6, -0.05), (0.92, 0.02), (0.98, 0.2),
         (0.94, 0.32), (-0.94, 0.32)],
        paint,
    )  # fmt: skip
    pen.stroke([(0.02, 0.0), (0.02, 0.3)], 0.02, darker(paint, 0.4))
    pen.stroke([(0.1, 0.08), (0.22, 0.08)], 0.03, darker(paint, 0.5))
    pen.oval((-0.92, 0.12), (0.06, 0.05), (255, 236, 150))
    pen.oval((0.93, 0.12), (0.05, 0.06), (220, 50, 40))
    for x in (-0.55, 0.56):
        _wheel(pen, x, 0.32, 0.22)


def truck(pen: Pen, rng: Random) -> None:
    """A lorry: a cab and a tall box behind it."""
    paint, load = any_colour(rng), any_colour(rng, 60, 245)
    top = rng.uniform(-0.72, -0.5)
    pen.box((-0.96, 0.24), (0.96, 0.38), (70, 72, 78))
    pen.box((-0.34, top), (0.98, 0.28), load)
    for x in (-0.02, 0.3, 0.64):
        pen.stroke([(x, top + 0.06), (x, 0.22)], 0.02, darker(load, 0.22))
    pen.polygon([(-0.98, 0.3), (-0.98, -0.06), (-0.82, -0.36), (-0.4, -0.36), (-0.4, 0.3)], paint)
    pen.polygon(
        [(-0.9, -0.06), (-0.78, -0.28), (-0.52, -0.28), (-0.52, -0.06)], near(rng, _GLASS, 14)
    )
    pen.oval((-0.94, 0.14), (0.05, 0.06), (255, 236, 150))
    for x in (-0.68, 0.36, 0.74):
        _wheel(pen, x, 0.4, 0.19)


def boat(pen: Pen, rng: Random) -> None:
    """A sailing boat on a strip of water."""
    hull, sail = any_colour(rng), near(rng, rng.choice([WHITE, (240, 220, 180), (220, 80, 60)]), 10)
    pen.stroke([(0.04, -0.95), (0.04, 0.4)], 0.05, (110, 76, 46))
    belly = rng.uniform(0.05, 0.16)
    pen.blob([(0.1, -0.88), (0.42 + belly, -0.3), (0.74, 0.2), (0.1, 0.22)], sail)
    pen.polygon([(-0.02, -0.78), (-0.02, 0.22), (-0.62, 0.22)], lighter(sail, 0.35))
    pen.polygon([(0.04, -0.98), (0.04, -0.84), (0.26, -0.91)], any_colour(rng), edge=False)
    pen.polygon([(-0.9, 0.3), (0.95, 0.3), (0.66, 0.68), (-0.6, 0.68)], hull)
    pen.stroke([(-0.84, 0.38), (0.88, 0.38)], 0.05, lighter(hull, 0.5))
    water = near(rng, (50, 120, 186), 20)
    ripple = [(-1.3 + 0.26 * step, 0.68 + 0.05 * (-1) ** step) for step in range(11)]
    pen.stroke(ripple, 0.1, water)
    pen.stroke([(x + 0.1, y + 0.12) for x, y in ripple], 0.07, lighter(water, 0.3))


def bicycle(pen: Pen, rng: Random) -> None:
    """Two wheels with spokes, a diamond frame, a saddle and handlebars."""
    paint = any_colour(rng, 20, 215)
    tyre = near(rng, (40, 40, 44), 10)
    for x in (-0.56, 0.56):
        rim = [
            (x + 0.4 * math.cos(t * 0.2618), 0.36 + 0.4 * math.sin(t * 0.2618)) for t in range(25)
        ]
        pen.stroke(rim, 0.065, tyre, curved=False)
        turn = rng.uniform(0, 1)
        for spoke in range(4):
            angle = turn + spoke * math.pi / 4
            dx, dy = 0.38 * math.cos(angle), 0.38 * math.sin(angle)
            pen.stroke([(x - dx, 0.36 - dy), (x + dx, 0.36 + dy)], 0.014, (150, 152, 158))
    rear, crank, seat, head = (-0.56, 0.36), (-0.06, 0.36), (-0.2, -0.28), (0.36, -0.26)
    for start, end in (
        (rear, crank),
        (rear, seat),
        (seat, crank),
        (seat, head),
        (crank, head),
        (head, (0.56, 0.36)),
    ):
        pen.stroke([start, end], 0.06, paint)
    pen.stroke([seat, (-0.24, -0.44)], 0.05, (90, 92, 98))
    pen.stroke([(-0.38, -0.46), (-0.12, -0.46)], 0.1, BLACK)
    pen.stroke([head, (0.32, -0.5), (0.18, -0.54)], 0.05, (90, 92, 98))
    pen.stroke([(0.32, -0.5), (0.48, -0.5)], 0.05, BLACK)
    pen.oval(crank, (0.09, 0.09), (120, 122, 128))
    pen.stroke([(crank[0], crank[1] - 0.02), (crank[0] + 0.1, crank[1] + 0.16)], 0.04, tyre)
