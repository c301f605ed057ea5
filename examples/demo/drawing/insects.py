"""Two butterflies, a bee and a ladybird."""

import math
from itertools import pairwise
from random import Random

from .pen import BLACK, WHITE, Colour, Pen, Point, darker, lighter, mix, near

_FOREWING: list[Point] = [
    (0.05, -0.12), (0.3, -0.55), (0.7, -0.82), (0.95, -0.78), (0.9, -0.45), (0.72, -0.12),
    (0.3, 0.06),
]  # fmt: skip
_HINDWING: list[Point] = [
    (0.05, 0.0), (0.45, 0.0), (0.74, 0.16), (0.72, 0.5), (0.45, 0.74), (0.2, 0.62), (0.05, 0.25),
]  # fmt: skip


def _shrunk(points: list[Point], factor: float) -> list[Point]:
    cx = sum(x for x, _ in points) / len(points)
    cy = sum(y for _, y in points) / len(points)
    return [(cx + (x - cx) * factor, cy + (y - cy) * factor) for x, y in points]


def _on_side(points: list[Point], side: float, spread: float) -> list[Point]:
    return [(x * side * spread, y) for x, y in points]


def _butterfly_body(pen: Pen, rng: Random, colour: Colour) -> None:
    for side in (-1, 1):
        tip = rng.uniform(0.18, 0.32)
        pen.stroke([(0.02 * side, -0.32), (0.1 * side, -0.55), (tip * side, -0.78)], 0.025, colour)
        pen.dot((tip * side, -0.78), 0.035, colour)
    pen.oval((0, 0.12), (0.06, 0.42), colour)
    pen.oval((0, -0.2), (0.085, 0.17), colour)
    pen.dot((0, -0.36), 0.075, colour)


def monarch(pen: Pen, rng: Random) -> None:
    """Orange wings with black veins, and white dots in a black margin."""
    orange = near(rng, (240, 128, 26), 22)
    spread = rng.uniform(0.75, 1.0)
    for side in (-1, 1):
        for wing, root in ((_HINDWING, (0.12, 0.12)), (_FOREWING, (0.12, -0.12))):
            pen.blob(_on_side(wing, side, spread), BLACK)
            inner = _shrunk(wing, 0.76)
            pen.blob(_on_side(inner, side, spread), orange, edge=False)
            for x, y in inner[1:-1]:
                vein = _on_side([root, (x, y)], side, spread)
                pen.stroke(vein, 0.035, BLACK, curved=False)
            rim = _shrunk(wing, 0.9)
            for (ax, ay), (bx, by) in pairwise(rim[1:-1]):
                for share in (0.1, 0.4, 0.7):
                    spot = (ax + (bx - ax) * share, ay + (by - ay) * share)
                    pen.dot(_on_side([spot], side, spread)[0], 0.028, WHITE)
    _butterfly_body(pen, rng, BLACK)


def blue_morpho(pen: Pen, rng: Random) -> None:
    """Shining blue wings that darken to a narrow black margin."""
    blue = near(rng, (28, 110, 232), 24)
    spread = rng.uniform(0.75, 1.0)
    for side in (-1, 1):
        for wing in (_HINDWING, _FOREWING):
            pen.blob(_on_side(wing, side, spread), near(rng, (18, 20, 40), 8))
            for factor, share in ((0.84, 0.0), (0.66, 0.25), (0.42, 0.5)):
                glow = mix(blue, (90, 205, 255), share)
                pen.blob(_on_side(_shrunk(wing, factor), side, spread), glow, edge=False)
        for spot in ((0.84, -0.7), (0.88, -0.58)):
            pen.dot(_on_side([spot], side, spread)[0], 0.026, WHITE)
    _butterfly_body(pen, rng, near(rng, (40, 34, 38), 8))


def honey_bee(pen: Pen, rng: Random) -> None:
    """A striped abdomen, a furry thorax, clear wings, seen from the side."""
    yellow = near(rng, (242, 182, 40), 16)
    dark = near(rng, (58, 36, 18), 10)
    for x in (-0.22, 0.02, 0.2):
        foot = rng.uniform(-0.08, 0.08)
        pen.stroke([(x, 0.2), (x - 0.06, 0.48), (x + foot, 0.72)], 0.04, dark)
    pen.oval((0.42, 0.14), (0.52, 0.33), yellow, angle=0.0)
    for start, end in ((-0.62, -0.36), (-0.08, 0.2), (0.44, 0.66), (0.84, 1.0)):
        pen.band((0.42, 0.14), (0.52, 0.33), (start, end), dark)
    pen.polygon([(0.92, 0.1), (1.05, 0.15), (0.92, 0.2)], BLACK, edge=False)
    pen.oval((-0.18, 0.02), (0.3, 0.29), near(rng, (196, 138, 48), 14))
    for step in range(14):
        turn = 2 * math.pi * step / 14
        pen.dot((-0.18 + 0.28 * math.cos(turn), 0.02 + 0.27 * math.sin(turn)), 0.06, yellow)
    pen.oval((-0.56, 0.08), (0.2, 0.22), dark)
    pen.oval((-0.62, 0.03), (0.07, 0.11), BLACK)
    pen.dot((-0.64, 0.0), 0.025, WHITE)
    lift = rng.uniform(-0.12, 0.12)
    pen.stroke([(-0.64, -0.1), (-0.74, -0.32), (-0.9, -0.38 + lift)], 0.035, dark)
    pen.stroke([(-0.56, -0.12), (-0.6, -0.36), (-0.72, -0.48 + lift)], 0.035, dark)
    glass = near(rng, (214, 230, 240), 8)
    for x, angle, length in ((0.24, -0.75 + lift, 0.5), (-0.02, -1.2 + lift, 0.55)):
        centre = (x + 0.12, -0.46)
        pen.oval(centre, (length, 0.18), darker(glass, 0.35), angle=angle, edge=False)
        pen.oval(centre, (length - 0.03, 0.15), glass, angle=angle)
        reach = (length * 0.8 * math.cos(angle), length * 0.8 * math.sin(angle))
        start = (centre[0] - reach[0], centre[1] - reach[1])
        end = (centre[0] + reach[0], centre[1] + reach[1])
        pen.stroke([start, end], 0.018, darker(glass, 0.3))


def seven_spot_ladybird(pen: Pen, rng: Random) -> None:
    """A red dome with seven black spots, seen from above."""
    red = near(rng, (212, 34, 26), 22)
    for side in (-1, 1):
        for y, reach in ((-0.25, -0.12), (0.12, 0.04), (0.45, 0.2)):
            knee = (0.9 * side, y + reach)
            pen.stroke([(0.5 * side, y), knee, (1.0 * side, y + reach * 2.2)], 0.055, BLACK)
        pen.stroke([(0.14 * side, -0.72), (0.3 * side, -0.98)], 0.04, BLACK)
        pen.dot((0.3 * side, -0.98), 0.04, BLACK)
    pen.oval((0, -0.66), (0.3, 0.2), BLACK)
    pen.oval((0, -0.48), (0.5, 0.28), BLACK)
    for side in (-1, 1):
        pen.oval((0.33 * side, -0.56), (0.12, 0.09), WHITE, edge=False)
        pen.dot((0.14 * side, -0.72), 0.045, WHITE)
    pen.oval((0, 0.14), (0.76, 0.72), red)
    pen.oval((-0.26, -0.14), (0.2, 0.12), lighter(red, 0.3), angle=-0.6, edge=False)
    pen.stroke([(0, -0.5), (0, 0.84)], 0.035, BLACK)
    pen.oval((0, -0.42), (0.16, 0.13), BLACK, edge=False)
    size = rng.uniform(0.12, 0.16)
    for side in (-1, 1):
        for spot in ((0.42, -0.14), (0.5, 0.3), (0.24, 0.6)):
            pen.dot((spot[0] * side, spot[1]), size, BLACK)
