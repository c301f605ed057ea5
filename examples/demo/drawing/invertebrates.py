"""A snail, an octopus and a starfish."""

import math
from random import Random

from .pen import BLACK, WHITE, Pen, darker, lighter, near


def garden_snail(pen: Pen, rng: Random) -> None:
    """A spiral shell on a soft body with two stalked eyes."""
    body = near(rng, rng.choice([(176, 150, 112), (150, 132, 112), (196, 172, 128)]), 14)
    shell = near(rng, rng.choice([(164, 104, 48), (190, 132, 66), (140, 88, 52)]), 16)
    for dx, top in ((-0.02, -0.5), (0.16, -0.42)):
        tip = (-0.82 + dx + rng.uniform(-0.06, 0.06), top + rng.uniform(-0.08, 0.04))
        pen.taper([(-0.7 + dx, 0.1), (-0.76 + dx, -0.2), tip], (0.09, 0.05), body)
        pen.dot(tip, 0.055, BLACK)
    pen.blob(
        [(-0.94, 0.2), (-0.72, 0.0), (-0.5, 0.14), (-0.1, 0.36), (0.6, 0.46), (1.0, 0.64),
         (0.5, 0.68), (-0.6, 0.68), (-0.84, 0.48)],
        body,
    )  # fmt: skip
    pen.stroke([(-0.86, 0.66), (0.96, 0.66)], 0.05, darker(body, 0.3))
    centre = (0.16, 0.0)
    pen.oval(centre, (0.6, 0.56), shell)
    turns = rng.uniform(2.3, 2.9)
    coil = []
    for step in range(48):
        share = step / 47
        radius, turn = 0.54 * (1 - share * 0.95), 1.9 + share * turns * 2 * math.pi
        coil.append((centre[0] + radius * math.cos(turn), centre[1] + radius * math.sin(turn)))
    pen.taper(coil, (0.1, 0.05), darker(shell, 0.5), curved=False)
    pen.stroke([(-0.9, 0.4), (-0.8, 0.46)], 0.03, darker(body, 0.5))


def common_octopus(pen: Pen, rng: Random) -> None:
    """A large soft head, two eyes, eight arms with suckers."""
    skin = near(rng, rng.choice([(190, 84, 66), (168, 70, 96), (206, 112, 70), (150, 80, 110)]), 16)
    for index in range(8):
        start = -0.42 + 0.12 * index
        out = (index - 3.5) / 3.5
        bend = rng.uniform(-0.12, 0.12)
        arm = [
            (start, 0.18),
            (start + out * 0.25, 0.5 + bend * 0.5),
            (out * 0.8 + bend, 0.74 - abs(out) * 0.22),
            (out * 0.98 + bend * 0.6, 0.92 - abs(out) * 0.42 + bend),
        ]
        pen.taper(arm, (0.23, 0.05), darker(skin, 0.22 if index % 2 else 0.08))
        for share in range(1, 3):
            x, y = arm[share]
            pen.dot((x, y + 0.02), 0.035, lighter(skin, 0.55))
    pen.blob(
        [(-0.4, 0.24), (-0.5, -0.05), (-0.5, -0.5), (-0.28, -0.86), (0, -0.95), (0.28, -0.86),
         (0.5, -0.5), (0.5, -0.05), (0.4, 0.24), (0, 0.34)],
        skin,
    )  # fmt: skip
    for _ in range(6):
        spot = (rng.uniform(-0.34, 0.34), rng.uniform(-0.8, -0.3))
        pen.dot(spot, rng.uniform(0.03, 0.06), darker(skin, 0.18))
    for side in (-1, 1):
        pen.oval((0.22 * side, -0.06), (0.14, 0.16), WHITE)
        pen.oval((0.22 * side + 0.02, -0.03), (0.075, 0.1), BLACK, edge=False)


def starfish(pen: Pen, rng: Random) -> None:
    """Five blunt arms with rows of light dots."""
    skin = near(
        rng, rng.choice([(226, 110, 52), (204, 66, 60), (226, 150, 80), (176, 84, 120)]), 18
    )
    inner, outer = rng.uniform(0.36, 0.44), rng.uniform(0.92, 1.0)
    points = []
    for arm in range(5):
        middle = -math.pi / 2 + arm * 2 * math.pi / 5
        bend = rng.uniform(-0.12, 0.12)
        for radius, offset in ((inner, -0.628), (outer, bend - 0.1), (outer, bend + 0.1)):
            points.append((radius * math.cos(middle + offset), radius * math.sin(middle + offset)))
    pen.blob(points, skin)
    for arm in range(5):
        x1, y1 = points[arm * 3 + 1]
        x2, y2 = points[arm * 3 + 2]
        tip = ((x1 + x2) / 2, (y1 + y2) / 2)
        for step in range(1, 7):
            share = step / 7.5
            pen.dot((tip[0] * share, tip[1] * share), 0.055 - 0.004 * step, lighter(skin, 0.45))
            for side in (-1, 1):
                width = 0.15 * (1 - share) * side
                spot = (tip[0] * share - tip[1] * width, tip[1] * share + tip[0] * width)
                pen.dot(spot, 0.028, darker(skin, 0.2))
    pen.dot((0, 0), 0.08, lighter(skin, 0.5))
