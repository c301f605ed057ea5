"""Whole pictures: mountains, the sea, a desert, and no thing at all."""

from random import Random

from .pen import BLACK, WHITE, Pen, any_colour, darker, lighter, near


def mountains(pen: Pen, rng: Random) -> None:
    """A range with snow on its peaks, and hills before it."""
    rock = near(rng, rng.choice([(112, 118, 136), (128, 116, 110), (96, 108, 130)]), 14)
    for layer in range(2):
        for place in (-0.9, -0.2, 0.5, 1.1):
            x = place + rng.uniform(-0.2, 0.2) + 0.3 * layer
            top = rng.uniform(-0.7, -0.3) + 0.34 * layer
            half = rng.uniform(0.55, 0.8)
            colour = lighter(rock, 0.25) if layer == 0 else rock
            pen.polygon([(x - half, 0.6), (x, top), (x + half, 0.6)], colour)
            pen.polygon(
                [(x, top), (x + half, 0.6), (x + half * 0.2, 0.6)], darker(colour, 0.15), edge=False
            )
            drop = (0.6 - top) * 0.3
            part = half * 0.3
            pen.polygon(
                [
                    (x, top),
                    (x + part, top + drop),
                    (x + part * 0.4, top + drop * 0.7),
                    (x, top + drop * 1.1),
                    (x - part * 0.4, top + drop * 0.7),
                    (x - part, top + drop),
                ],
                WHITE,
                edge=False,
            )
    meadow = near(rng, (96, 140, 72), 20)
    edge = [
        (-1.5, 0.5),
        (-0.8, 0.42 + rng.uniform(-0.1, 0.1)),
        (0, 0.54),
        (0.8, 0.42 + rng.uniform(-0.1, 0.1)),
        (1.5, 0.5),
    ]
    pen.polygon([*edge, (1.5, 1.5), (-1.5, 1.5)], meadow, edge=False)
    for _ in range(rng.randint(0, 7)):
        x, y = rng.uniform(-1, 1), rng.uniform(0.6, 0.9)
        pen.polygon([(x - 0.06, y), (x, y - 0.2), (x + 0.06, y)], darker(meadow, 0.4), edge=False)


def sea(pen: Pen, rng: Random) -> None:
    """Open water in rows of waves up to the horizon."""
    water = near(rng, rng.choice([(36, 110, 176), (30, 130, 160), (50, 96, 150)]), 16)
    horizon = rng.uniform(-0.3, 0.1)
    if rng.random() < 0.5:
        pen.oval(
            (rng.uniform(-0.7, 0.7), horizon - rng.uniform(0.05, 0.4)),
            (0.2, 0.2),
            (255, 226, 130),
            edge=False,
        )
    pen.box((-1.6, horizon), (1.6, 1.6), water, edge=False)
    rows = rng.randint(4, 7)
    for row in range(rows):
        share = (row + 0.5) / rows
        y = horizon + 0.06 + share**1.4 * (1.1 - horizon)
        step = 0.1 + 0.16 * share
        shift = rng.uniform(-0.2, 0.0)
        wave = [
            (-1.4 + shift + step * index, y + (0.02 + 0.05 * share) * (-1) ** index)
            for index in range(int(3 / step))
        ]
        pen.stroke(wave, 0.02 + 0.045 * share, lighter(water, 0.28 + 0.3 * rng.random()))
    if rng.random() < 0.4:
        for _ in range(3):
            x, y = rng.uniform(-0.8, 0.8), rng.uniform(-0.85, horizon - 0.25)
            pen.stroke([(x - 0.1, y - 0.05), (x, y), (x + 0.1, y - 0.05)], 0.025, BLACK)


def desert(pen: Pen, rng: Random) -> None:
    """Sand dunes under the sun, with a cactus now and then."""
    sand = near(rng, rng.choice([(230, 188, 112), (222, 168, 94), (236, 204, 140)]), 12)
    if rng.random() < 0.7:
        pen.oval(
            (rng.uniform(-0.7, 0.7), rng.uniform(-0.75, -0.4)),
            (0.19, 0.19),
            (255, 236, 150),
            edge=False,
        )
    for layer in range(3):
        base = -0.1 + 0.34 * layer + rng.uniform(-0.06, 0.06)
        crest = [
            (-1.6, base),
            (-0.8, base - rng.uniform(0.0, 0.3)),
            (0.0, base + rng.uniform(-0.05, 0.15)),
            (0.7, base - rng.uniform(0.0, 0.3)),
            (1.6, base),
        ]
        dune = darker(sand, (0.16, 0.07, 0.0)[layer])
        pen.blob([*crest, (1.8, 1.8), (-1.8, 1.8)], dune, edge=False)
        pen.stroke(crest, 0.03, darker(dune, 0.2))
    for _ in range(rng.choice([0, 1, 1, 2])):
        x, y = rng.uniform(-0.8, 0.8), rng.uniform(0.3, 0.7)
        green = near(rng, (70, 128, 70), 14)
        pen.stroke([(x, y), (x, y - 0.5)], 0.12, green)
        pen.stroke([(x, y - 0.16), (x - 0.18, y - 0.18), (x - 0.18, y - 0.36)], 0.08, green)
        pen.stroke([(x, y - 0.24), (x + 0.17, y - 0.26), (x + 0.17, y - 0.42)], 0.08, green)


def abstract(pen: Pen, rng: Random) -> None:
    """No thing at all: shapes and strokes thrown together, as on an abstract painting."""
    for _ in range(rng.randint(6, 16)):
        x, y = rng.uniform(-1.2, 1.2), rng.uniform(-1.2, 1.2)
        size, colour = rng.uniform(0.1, 0.7), any_colour(rng)
        kind = rng.randrange(4)
        if kind == 0:
            pen.oval((x, y), (size, size * rng.uniform(0.3, 1)), colour, angle=rng.uniform(0, 3))
        elif kind == 1:
            corners = [(x + rng.uniform(-size, size), y + rng.uniform(-size, size)) for _ in "abcd"]
            pen.polygon(corners, colour)
        elif kind == 2:
            course = [(rng.uniform(-1.2, 1.2), rng.uniform(-1.2, 1.2)) for _ in range(4)]
            pen.stroke(course, rng.uniform(0.03, 0.2), colour)
        else:
            pen.box((x - size, y - size * 0.5), (x + size * 0.4, y + size * 0.3), colour)
