"""Two fishes, a snake and a turtle."""

import math
from random import Random

from .pen import BLACK, WHITE, Colour, Pen, Point, darker, lighter, near, smooth


def _eye(pen: Pen, centre: Point, radius: float, iris: Colour = WHITE) -> None:
    pen.oval(centre, (radius, radius), iris)
    pen.dot((centre[0] - radius * 0.15, centre[1]), radius * 0.6, BLACK)


def clownfish(pen: Pen, rng: Random) -> None:
    """An orange fish with three white bands, all edged in black."""
    orange = near(rng, (244, 112, 24), 16)
    tail = rng.uniform(-0.08, 0.08)
    pen.blob(
        [(0.6, 0.0), (0.82, -0.3), (1.0, -0.22 + tail), (1.0, 0.22 + tail), (0.82, 0.3)], BLACK
    )
    pen.blob(
        [(0.6, 0.0), (0.8, -0.22), (0.92, -0.16 + tail), (0.92, 0.16 + tail), (0.8, 0.22)],
        orange, edge=False,
    )  # fmt: skip
    for side in (-1, 1):
        fin = [
            (-0.3, 0.4 * side),
            (-0.1, 0.72 * side),
            (0.2, 0.62 * side),
            (0.42, 0.74 * side),
            (0.6, 0.26 * side),
        ]
        pen.blob(fin, BLACK)
        pen.blob([(x * 0.92 + 0.01, y * 0.88) for x, y in fin], orange, edge=False)
    radii = (0.82, 0.5)
    pen.oval((-0.1, 0.0), radii, orange)
    for start, end in ((-0.56, -0.28), (0.06, 0.34), (0.74, 0.92)):
        pen.band((-0.1, 0.0), radii, (start - 0.05, end + 0.05), BLACK)
        pen.band((-0.1, 0.0), radii, (start, end), WHITE)
    pen.blob([(0.0, 0.1), (0.16, 0.0), (0.3, 0.16), (0.22, 0.36), (0.02, 0.28)], BLACK)
    pen.blob(
        [(0.03, 0.12), (0.15, 0.05), (0.24, 0.17), (0.18, 0.29), (0.05, 0.25)], orange, edge=False
    )
    _eye(pen, (-0.68, -0.12), 0.09, near(rng, (240, 170, 70), 10))
    pen.stroke([(-0.9, 0.08), (-0.8, 0.14), (-0.72, 0.13)], 0.03, darker(orange, 0.6))


def goldfish(pen: Pen, rng: Random) -> None:
    """A round golden fish with a flowing double tail."""
    gold = near(rng, rng.choice([(248, 158, 30), (250, 134, 36), (252, 178, 44)]), 12)
    pale = lighter(gold, 0.4)
    flow = rng.uniform(-0.12, 0.12)
    pen.blob([(0.34, 0.0), (0.6, -0.4), (1.0, -0.66 + flow), (0.9, -0.3), (0.78, 0.0)], pale)
    pen.blob([(0.34, 0.0), (0.78, 0.0), (0.94, 0.34), (1.0, 0.72 + flow), (0.6, 0.4)], pale)
    for reach in (-0.5, -0.26, 0.26, 0.5):
        pen.stroke([(0.5, reach * 0.2), (0.88, reach + flow * 0.6)], 0.025, darker(gold, 0.12))
    pen.blob([(-0.34, -0.36), (-0.16, -0.78), (0.2, -0.74 + flow), (0.34, -0.2)], pale)
    pen.blob([(0.0, 0.36), (0.14, 0.72), (0.34, 0.66 + flow), (0.3, 0.2)], pale)
    pen.oval((-0.16, 0.02), (0.66, 0.48), gold)
    pen.oval((-0.2, 0.2), (0.5, 0.24), lighter(gold, 0.25), edge=False)
    for row, y in enumerate((-0.2, -0.02, 0.16)):
        for column in range(4):
            x = -0.22 + column * 0.17 + (row % 2) * 0.08
            scale = [(x, y - 0.07), (x + 0.06, y), (x, y + 0.07)]
            pen.stroke(scale, 0.022, darker(gold, 0.22))
    pen.stroke([(-0.4, -0.22), (-0.32, 0.02), (-0.42, 0.26)], 0.03, darker(gold, 0.3))
    pen.blob([(-0.24, 0.14), (0.04, 0.2), (0.08, 0.4), (-0.1, 0.38)], pale)
    _eye(pen, (-0.56, -0.1), 0.1)
    pen.stroke([(-0.8, 0.1), (-0.74, 0.15), (-0.7, 0.14)], 0.03, darker(gold, 0.5))


def grass_snake(pen: Pen, rng: Random) -> None:
    """A long green-grey body in waves, a yellow collar, a forked tongue."""
    green = near(rng, rng.choice([(98, 124, 62), (84, 108, 74), (122, 134, 66)]), 14)
    height = rng.uniform(0.3, 0.5)
    phase = rng.choice([-1, 1])
    waves = rng.choice([3, 4, 5])
    course = [
        (0.98 - 1.62 * step / (2 * waves), height * phase * (0, 1, 0, -1)[step % 4])
        for step in range(2 * waves + 1)
    ]
    # Two passes: the dark rim first, or every bead would wear an outline of its own.
    head = (course[-1][0] - 0.16, course[-1][1] * 0.6 - 0.08)
    body = [*course, head]
    pen.taper(body, (0.07, 0.31), darker(green, 0.5))
    pen.taper(body, (0.04, 0.25), green)
    spots = smooth(body, closed=False)
    for index in range(6, len(spots) - 8, 5):
        pen.dot(spots[index], 0.03, darker(green, 0.6))
    pen.stroke([(head[0] - 0.1, head[1]), (head[0] - 0.3, head[1] + 0.02)], 0.025, (190, 30, 40))
    for side in (-1, 1):
        fork = (head[0] - 0.38, head[1] + 0.07 * side)
        pen.stroke([(head[0] - 0.28, head[1] + 0.02), fork], 0.022, (190, 30, 40))
    pen.oval(head, (0.2, 0.15), darker(green, 0.12))
    collar = (head[0] + 0.19, head[1] + 0.04 * phase)
    pen.oval((collar[0] + 0.05, collar[1]), (0.06, 0.14), BLACK, edge=False)
    pen.oval(collar, (0.06, 0.13), near(rng, (244, 214, 60), 10), edge=False)
    _eye(pen, (head[0] - 0.06, head[1] - 0.05), 0.05, near(rng, (236, 204, 80), 8))


def green_turtle(pen: Pen, rng: Random) -> None:
    """An oval shell of plates, four flippers and a small head, seen from above."""
    skin = near(rng, (112, 150, 84), 18)
    shell = near(rng, rng.choice([(96, 112, 52), (118, 104, 52), (74, 100, 58)]), 14)
    swing = rng.uniform(-0.15, 0.15)
    for side in (-1, 1):
        pen.blob(
            [(-0.34, 0.3 * side), (-0.4, 0.7 * side), (-0.12 + swing, 1.0 * side),
             (0.02 + swing, 0.94 * side), (-0.1, 0.56 * side), (-0.06, 0.34 * side)],
            skin,
        )  # fmt: skip
        rear = [
            (0.46, 0.3 * side),
            (0.74, 0.56 * side),
            (0.9, 0.5 * side + swing),
            (0.66, 0.2 * side),
        ]
        pen.blob(rear, skin)
    pen.polygon([(0.7, -0.07), (0.92, 0.0), (0.7, 0.07)], skin)
    pen.stroke([(-0.5, 0), (-0.76, swing * 0.4)], 0.22, skin)
    head = (-0.82, swing * 0.5)
    pen.oval(head, (0.18, 0.15), skin)
    for side in (-1, 1):
        pen.dot((head[0] - 0.06, head[1] + 0.09 * side), 0.035, BLACK)
    pen.oval((0.14, 0), (0.68, 0.54), darker(shell, 0.45))
    pen.oval((0.14, 0), (0.62, 0.48), shell, edge=False)
    plate = lighter(shell, 0.22)
    for x in (-0.26, 0.12, 0.5):
        size = 0.17 if x == 0.12 else 0.14
        pen.polygon(
            [
                (x + size * math.cos(t * math.pi / 3), size * math.sin(t * math.pi / 3))
                for t in range(6)
            ],
            plate,
            edge=False,
        )
        for side in (-1, 1):
            outer = (0.14 + (x - 0.14) * 0.9, 0.3 * side)
            pen.oval(outer, (0.13, 0.1 if x == 0.12 else 0.07), plate, edge=False)
