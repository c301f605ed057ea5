"""An apple, a pizza and an ice cream."""

import math
from random import Random

from .pen import Pen, darker, lighter, near


def apple(pen: Pen, rng: Random) -> None:
    """A round apple with a stem and a leaf."""
    skin = near(rng, rng.choice([(208, 34, 38), (206, 46, 36), (130, 184, 48), (226, 178, 52)]), 18)
    pen.blob(
        [(0, -0.5), (0.34, -0.64), (0.72, -0.48), (0.86, -0.04), (0.66, 0.54), (0.28, 0.84),
         (0, 0.74), (-0.28, 0.84), (-0.66, 0.54), (-0.86, -0.04), (-0.72, -0.48), (-0.34, -0.64)],
        skin,
    )  # fmt: skip
    pen.oval((-0.42, -0.16), (0.13, 0.26), lighter(skin, 0.45), angle=0.4, edge=False)
    pen.oval((0.0, -0.5), (0.2, 0.06), darker(skin, 0.35), edge=False)
    pen.taper([(0, -0.46), (0.03, -0.72), (0.1, -0.94)], (0.06, 0.09), (98, 66, 38))
    pen.blob(
        [(0.08, -0.72), (0.3, -0.96), (0.62, -0.92), (0.42, -0.7)], near(rng, (84, 156, 60), 18)
    )


def pizza(pen: Pen, rng: Random) -> None:
    """A whole pizza from above, cut in slices."""
    crust = near(rng, (206, 148, 80), 14)
    cheese = near(rng, (246, 206, 96), 12)
    pen.oval((0, 0), (0.96, 0.96), crust)
    pen.oval((0, 0), (0.82, 0.82), near(rng, (206, 70, 40), 12), edge=False)
    pen.oval((0, 0), (0.77, 0.77), cheese, edge=False)
    turn = rng.uniform(0, 1)
    for slot in range(rng.randint(7, 10)):
        radius, angle = (0.25, 0.56)[slot % 2] + rng.uniform(-0.06, 0.06), turn + slot * 2.4
        spot = (radius * math.cos(angle), radius * math.sin(angle))
        pen.oval(spot, (0.14, 0.14), near(rng, (190, 54, 42), 12))
        pen.dot((spot[0] - 0.03, spot[1] - 0.03), 0.06, near(rng, (214, 92, 70), 10))
    for _ in range(9):
        angle, radius = rng.uniform(0, 6.3), rng.uniform(0.1, 0.68)
        spot = (radius * math.cos(angle), radius * math.sin(angle))
        pen.oval(spot, (0.09, 0.04), near(rng, (70, 130, 50), 14), angle=angle * 2, edge=False)
    for cut in range(4):
        angle = turn + cut * math.pi / 4
        dx, dy = 0.95 * math.cos(angle), 0.95 * math.sin(angle)
        pen.stroke([(-dx, -dy), (dx, dy)], 0.022, darker(crust, 0.3))


def ice_cream(pen: Pen, rng: Random) -> None:
    """One to three scoops in a wafer cone."""
    wafer = near(rng, (216, 158, 88), 14)
    pen.polygon([(-0.38, 0.02), (0.38, 0.02), (0.0, 0.98)], wafer)
    for step in range(4):
        x = -0.3 + 0.2 * step
        pen.stroke([(x, 0.04), (x * 0.2 + 0.12, 0.62)], 0.022, darker(wafer, 0.3))
        pen.stroke([(-x, 0.04), (-x * 0.2 - 0.12, 0.62)], 0.022, darker(wafer, 0.3))
    flavours = [(250, 236, 200), (244, 160, 180), (116, 72, 48), (176, 222, 170), (250, 214, 110)]
    scoops = rng.choice(
        [[(0, -0.26)], [(-0.22, -0.16), (0.22, -0.16)], [(-0.22, -0.16), (0.22, -0.16), (0, -0.5)]]
    )
    for x, y in scoops:
        flavour = near(rng, rng.choice(flavours), 10)
        radius = 0.46 if len(scoops) == 1 else 0.32
        pen.oval((x, y), (radius, radius), flavour)
        pen.oval(
            (x - radius * 0.35, y - radius * 0.4),
            (radius * 0.22, radius * 0.14),
            lighter(flavour, 0.5),
            angle=-0.6,
            edge=False,
        )
    pen.blob(
        [
            (-0.46, -0.02),
            (0, -0.08),
            (0.46, -0.02),
            (0.3, 0.12),
            (0.1, 0.06),
            (-0.1, 0.14),
            (-0.3, 0.06),
        ],
        lighter(wafer, 0.35),
    )
    if rng.random() < 0.5:
        top = min(y for _, y in scoops) - (0.46 if len(scoops) == 1 else 0.32)
        pen.oval((0.0, top), (0.1, 0.1), (200, 30, 50))
