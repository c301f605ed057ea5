"""Two birds and a cat."""

from random import Random

from .pen import BLACK, WHITE, Pen, darker, lighter, mix, near


def robin(pen: Pen, rng: Random) -> None:
    """A small round brown bird with an orange-red breast and face."""
    brown = near(rng, (128, 98, 64), 16)
    red = near(rng, (224, 88, 32), 16)
    legs = near(rng, (84, 58, 44), 8)
    for x in (-0.06, 0.14):
        foot = x + rng.uniform(-0.05, 0.05)
        pen.stroke([(x, 0.5), (foot, 0.86)], 0.04, legs)
        pen.stroke([(foot - 0.14, 0.9), (foot, 0.86), (foot + 0.08, 0.9)], 0.035, legs)
    tail = rng.uniform(-0.1, 0.12)
    pen.polygon(
        [(0.44, 0.06), (0.98, 0.14 + tail), (0.96, 0.3 + tail), (0.42, 0.36)], darker(brown, 0.2)
    )
    pen.blob(
        [(-0.5, -0.5), (-0.2, -0.68), (0.08, -0.5), (0.3, -0.22), (0.6, 0.1), (0.5, 0.4),
         (0.16, 0.6), (-0.24, 0.56), (-0.52, 0.24), (-0.54, -0.1)],
        brown,
    )  # fmt: skip
    pen.blob(
        [(-0.4, 0.2), (0.1, 0.14), (0.36, 0.36), (0.1, 0.56), (-0.24, 0.52)],
        near(rng, (226, 218, 204), 10),
        edge=False,
    )
    pen.blob(
        [(-0.56, -0.46), (-0.36, -0.56), (-0.18, -0.44), (-0.12, -0.14), (-0.06, 0.14),
         (-0.26, 0.36), (-0.46, 0.26), (-0.55, 0.0)],
        red, edge=False,
    )  # fmt: skip
    pen.blob([(0.0, -0.22), (0.3, -0.08), (0.7, 0.18), (0.4, 0.3), (0.1, 0.2)], darker(brown, 0.25))
    pen.polygon([(-0.56, -0.46), (-0.78, -0.38), (-0.56, -0.33)], near(rng, (70, 58, 48), 10))
    pen.dot((-0.34, -0.46), 0.065, BLACK)
    pen.dot((-0.36, -0.48), 0.022, WHITE)


def penguin(pen: Pen, rng: Random) -> None:
    """Upright, black back, white belly, yellow cheeks, stubby flippers."""
    coat = near(rng, (34, 38, 50), 10)
    lift = rng.uniform(0.0, 0.22)
    beak = near(rng, (240, 150, 40), 14)
    for side in (-1, 1):
        pen.oval((0.2 * side, 0.92), (0.2, 0.07), beak)
        pen.blob(
            [(0.34 * side, -0.3), ((0.62 + lift) * side, 0.12), ((0.66 + lift) * side, 0.36 - lift),
             (0.42 * side, 0.2)],
            coat,
        )  # fmt: skip
    pen.blob(
        [(-0.24, -0.9), (0, -0.98), (0.24, -0.9), (0.32, -0.62), (0.48, -0.1), (0.5, 0.5),
         (0.3, 0.9), (-0.3, 0.9), (-0.5, 0.5), (-0.48, -0.1), (-0.32, -0.62)],
        coat,
    )  # fmt: skip
    pen.blob(
        [
            (0, -0.44),
            (0.28, -0.2),
            (0.36, 0.36),
            (0.2, 0.82),
            (-0.2, 0.82),
            (-0.36, 0.36),
            (-0.28, -0.2),
        ],
        WHITE,
        edge=False,
    )
    yellow = near(rng, (248, 198, 64), 12)
    turn = rng.uniform(-0.06, 0.06)
    for side in (-1, 1):
        pen.oval((0.22 * side + turn, -0.54), (0.075, 0.14), yellow, edge=False)
        pen.oval((0.11 * side + turn, -0.76), (0.065, 0.075), WHITE, edge=False)
        pen.dot((0.11 * side + turn, -0.75), 0.035, BLACK)
    pen.polygon([(-0.1 + turn, -0.66), (0.1 + turn, -0.66), (turn * 1.6, -0.46)], beak)


def cat(pen: Pen, rng: Random) -> None:
    """A sitting cat, seen from the front, with whiskers and a curled tail."""
    coats = [(226, 140, 62), (128, 128, 134), (66, 62, 66), (214, 196, 168), (150, 112, 80)]
    coat = near(rng, rng.choice(coats), 14)
    light = mix(coat, WHITE, 0.6)
    curl = rng.uniform(-0.1, 0.1)
    pen.taper(
        [(0.3, 0.8), (0.7, 0.82), (0.86, 0.5), (0.74, 0.2 + curl), (0.9, 0.02 + curl)],
        (0.17, 0.12),
        darker(coat, 0.12),
    )
    pen.blob(
        [
            (-0.26, -0.2),
            (0.26, -0.2),
            (0.44, 0.4),
            (0.46, 0.84),
            (0, 0.92),
            (-0.46, 0.84),
            (-0.44, 0.4),
        ],
        coat,
    )
    pen.blob([(0, -0.1), (0.18, 0.1), (0.14, 0.46), (-0.14, 0.46), (-0.18, 0.1)], light, edge=False)
    for side in (-1, 1):
        pen.stroke([(0.13 * side, 0.3), (0.14 * side, 0.82)], 0.17, lighter(coat, 0.08))
        pen.oval((0.15 * side, 0.88), (0.14, 0.08), light)
    tilt = rng.uniform(-0.05, 0.05)
    for side in (-1, 1):
        pen.polygon([(0.42 * side, -0.42), (0.4 * side + tilt, -0.98), (0.08 * side, -0.74)], coat)
        pen.polygon(
            [(0.36 * side, -0.56), (0.36 * side + tilt, -0.86), (0.17 * side, -0.72)],
            (226, 150, 150),
            edge=False,
        )
    pen.oval((0, -0.44), (0.47, 0.38), coat)
    if rng.random() < 0.55:
        stripe = darker(coat, 0.35)
        for x in (-0.13, 0.0, 0.13):
            pen.stroke([(x, -0.8), (x * 0.9, -0.64)], 0.05, stripe)
        for side in (-1, 1):
            for y in (0.1, 0.28, 0.46):
                pen.stroke([(0.24 * side, y), (0.4 * side, y + 0.04)], 0.05, stripe)
    iris = near(rng, rng.choice([(120, 190, 80), (240, 200, 70), (110, 180, 210)]), 12)
    for side in (-1, 1):
        pen.oval((0.19 * side, -0.48), (0.105, 0.095), iris)
        pen.oval((0.19 * side, -0.48), (0.035, 0.085), BLACK, edge=False)
        pen.oval((0.09 * side, -0.25), (0.11, 0.085), light, edge=False)
    pen.polygon([(-0.06, -0.34), (0.06, -0.34), (0, -0.26)], (206, 110, 116))
    hair = WHITE if sum(coat) < 330 else darker(coat, 0.6)
    for side in (-1, 1):
        for y in (-0.3, -0.22):
            pen.stroke([(0.14 * side, -0.26), (0.62 * side, y * 1.3 + 0.12)], 0.018, hair)
