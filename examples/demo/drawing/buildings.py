"""A house, a skyscraper and a castle."""

from random import Random

from .pen import WHITE, Pen, any_colour, darker, lighter, near


def house(pen: Pen, rng: Random) -> None:
    """Walls, a pitched roof, a door, windows and a chimney."""
    wall, roof = (
        any_colour(rng, 120, 245),
        near(rng, rng.choice([(170, 64, 48), (110, 70, 50), (90, 96, 110)]), 16),
    )
    peak = rng.uniform(-0.92, -0.72)
    pen.box((0.36, peak + 0.02), (0.54, -0.2), darker(roof, 0.3))
    pen.box((-0.72, -0.2), (0.72, 0.84), wall)
    pen.polygon([(-0.94, -0.16), (0, peak), (0.94, -0.16)], roof)
    door = any_colour(rng, 30, 170)
    at = rng.choice([-0.4, 0.0, 0.36])
    pen.box((at - 0.15, 0.3), (at + 0.15, 0.84), door)
    pen.dot((at + 0.09, 0.58), 0.03, (240, 210, 90))
    glass = near(rng, (168, 208, 230), 16)
    for x in (-0.44, 0.0, 0.44):
        if abs(x - at) > 0.2:
            pen.box((x - 0.15, 0.06), (x + 0.15, 0.38), glass)
            pen.stroke([(x, 0.06), (x, 0.38)], 0.03, WHITE)
            pen.stroke([(x - 0.15, 0.22), (x + 0.15, 0.22)], 0.03, WHITE)
    pen.oval((0, -0.4), (0.11, 0.11), glass)


def skyscraper(pen: Pen, rng: Random) -> None:
    """One to three towers with rows of windows."""
    for x, top, half in (
        (-0.52, rng.uniform(-0.4, 0.0), 0.24),
        (0.52, rng.uniform(-0.5, 0.1), 0.24),
        (0, -0.9, 0.3),
    ):
        if x and rng.random() < 0.35:
            continue
        wall = near(
            rng, rng.choice([(110, 124, 146), (150, 150, 156), (84, 96, 120), (170, 140, 116)]), 16
        )
        lit = near(rng, rng.choice([(250, 226, 140), (196, 224, 244)]), 10)
        pen.box((x - half, top), (x + half, 0.98), wall)
        rows = int((0.9 - top) / 0.15)
        for row in range(rows):
            for column in range(4):
                left = x - half + 0.04 + column * (2 * half - 0.06) / 4
                y = top + 0.07 + row * 0.15
                pane = lit if rng.random() < 0.75 else darker(wall, 0.4)
                pen.box((left, y), (left + half * 0.34, y + 0.08), pane, edge=False)
    pen.stroke([(0, -0.9), (0, -1.08)], 0.035, (90, 92, 98))


def castle(pen: Pen, rng: Random) -> None:
    """Two round towers with pointed roofs, battlements and a gate."""
    stone = near(rng, rng.choice([(168, 164, 158), (190, 174, 146), (140, 140, 148)]), 12)
    roof = near(rng, rng.choice([(180, 56, 52), (70, 90, 160), (96, 70, 120)]), 14)
    pen.box((-0.5, -0.04), (0.5, 0.84), stone)
    for step in range(5):
        x = -0.46 + step * 0.2
        pen.box((x, -0.16), (x + 0.12, -0.02), stone)
    height = rng.uniform(-0.44, -0.3)
    for side in (-1, 1):
        x = 0.66 * side
        pen.box((x - 0.23, height), (x + 0.23, 0.84), lighter(stone, 0.1))
        pen.polygon([(x - 0.3, height + 0.02), (x, height - 0.5), (x + 0.3, height + 0.02)], roof)
        pen.polygon(
            [(x, height - 0.5), (x, height - 0.64), (x + 0.17, height - 0.57)],
            near(rng, (230, 190, 50), 20),
            edge=False,
        )
        pen.box((x - 0.05, height + 0.2), (x + 0.05, height + 0.44), darker(stone, 0.65))
    pen.oval((0, 0.48), (0.19, 0.2), darker(stone, 0.7), edge=False)
    pen.box((-0.19, 0.48), (0.19, 0.84), darker(stone, 0.7), edge=False)
    for x in (-0.3, 0.3):
        pen.box((x - 0.04, 0.12), (x + 0.04, 0.28), darker(stone, 0.65), edge=False)
    for _ in range(8):
        x, y = rng.uniform(-0.42, 0.36), rng.uniform(0.3, 0.8)
        if abs(x) > 0.22:
            pen.stroke([(x, y), (x + 0.08, y)], 0.02, darker(stone, 0.25))
