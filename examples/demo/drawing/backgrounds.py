"""What stands behind a subject: plain, graded, patterned or a hint of a place.

They are drawn at random for every class: with a fixed place for each subject
a model learns the place instead of the subject.
"""

from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw

from .pen import Colour, any_colour, darker, lighter, mix, near

_SKY = (164, 206, 236)
_GRASS = (126, 172, 88)
_WATER = (74, 146, 190)
_SAND = (226, 204, 158)


def _graded(side: int, top: Colour, bottom: Colour) -> Image.Image:
    column = Image.new("RGB", (1, 32))
    for y in range(32):
        column.putpixel((0, y), mix(top, bottom, y / 31))
    return column.resize((side, side), Image.Resampling.BILINEAR)


def plain(rng: Random, side: int) -> Image.Image:
    """One colour."""
    return Image.new("RGB", (side, side), any_colour(rng, 40, 250))


def graded(rng: Random, side: int) -> Image.Image:
    """One colour running into another, from top to bottom or across."""
    picture = _graded(side, any_colour(rng, 40, 250), any_colour(rng, 40, 250))
    return picture.transpose(Image.Transpose.ROTATE_90) if rng.random() < 0.4 else picture


def sky(rng: Random, side: int) -> Image.Image:
    """A sky, blue, grey or at dusk, sometimes with clouds."""
    top = near(rng, rng.choice([_SKY, (120, 170, 220), (190, 196, 204), (240, 180, 140)]), 16)
    picture = _graded(side, top, lighter(top, 0.5))
    if rng.random() < 0.5:
        draw = ImageDraw.Draw(picture)
        for _ in range(rng.randint(1, 3)):
            x, y, size = rng.uniform(0, side), rng.uniform(0, side * 0.35), rng.uniform(0.05, 0.1)
            for step in range(3):
                left, half = x + step * size * side * 0.8, size * side
                draw.ellipse(
                    [left - half, y - half * 0.6, left + half, y + half * 0.6], fill=(244, 246, 248)
                )
    return picture


def ground(rng: Random, side: int) -> Image.Image:
    """A sky above grass, sand, paving or snow."""
    picture = sky(rng, side)
    colour = near(
        rng, rng.choice([_GRASS, _SAND, (150, 150, 152), (232, 238, 244), (140, 110, 84)]), 18
    )
    line = rng.uniform(0.5, 0.85) * side
    ImageDraw.Draw(picture).rectangle([0, line, side, side], fill=colour)
    return picture


def meadow(rng: Random, side: int) -> Image.Image:
    """Green all over, with blades of grass."""
    base = near(rng, _GRASS, 26)
    picture = _graded(side, lighter(base, 0.15), darker(base, 0.15))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(20, 60)):
        x, y, height = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0.03, 0.1) * side
        shade = darker(base, rng.uniform(0.05, 0.3))
        draw.line([x, y, x + rng.uniform(-0.3, 0.3) * height, y - height], fill=shade, width=3)
    return picture


def water(rng: Random, side: int) -> Image.Image:
    """Under water: blue or green, with bubbles."""
    top = near(rng, rng.choice([_WATER, (60, 120, 180), (84, 160, 160)]), 18)
    picture = _graded(side, lighter(top, 0.2), darker(top, 0.35))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(0, 8)):
        x, y, size = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0.008, 0.025) * side
        draw.ellipse([x - size, y - size, x + size, y + size], outline=lighter(top, 0.6), width=3)
    return picture


def indoors(rng: Random, side: int) -> Image.Image:
    """A wall and a floor or a table top."""
    wall = any_colour(rng, 130, 245)
    picture = Image.new("RGB", (side, side), wall)
    line = rng.uniform(0.55, 0.85) * side
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, line, side, side], fill=any_colour(rng, 70, 220))
    draw.line([0, line, side, line], fill=darker(wall, 0.3), width=5)
    return picture


def blurred(rng: Random, side: int) -> Image.Image:
    """Soft patches, as of things out of focus."""
    small = Image.new("RGB", (4, 4))
    base = any_colour(rng, 50, 230)
    for x in range(4):
        for y in range(4):
            small.putpixel((x, y), near(rng, base, 50))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def patterned(rng: Random, side: int) -> Image.Image:
    """Stripes, squares or dots, as on cloth or tiles."""
    base = any_colour(rng, 60, 245)
    other = near(rng, base, 40)
    picture = Image.new("RGB", (side, side), base)
    draw = ImageDraw.Draw(picture)
    pitch = rng.uniform(0.06, 0.2) * side
    kind = rng.randrange(3)
    for row in range(int(side / pitch) + 1):
        if kind == 0:
            draw.rectangle([0, row * pitch, side, row * pitch + pitch / 2], fill=other)
            continue
        for column in range(int(side / pitch) + 1):
            if (row + column) % 2 == 0:
                spot = [column * pitch, row * pitch, (column + 1) * pitch, (row + 1) * pitch]
                (draw.rectangle if kind == 1 else draw.ellipse)(spot, fill=other)
    return picture if rng.random() < 0.5 else picture.transpose(Image.Transpose.ROTATE_90)


def paper(rng: Random, side: int) -> Image.Image:
    """Cream or kraft paper with grain, ruled now and then: only the unseen style uses it."""
    base = near(
        rng, rng.choice([(244, 238, 222), (226, 206, 170), (232, 234, 236), (206, 214, 200)]), 6
    )
    noise = Image.effect_noise((side // 2, side // 2), 26).resize((side, side))
    picture = Image.blend(Image.new("RGB", (side, side), base), noise.convert("RGB"), 0.12)
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.4:
        for row in range(1, 14):
            draw.line(
                [0, row * side / 14, side, row * side / 14],
                fill=mix(base, (90, 130, 190), 0.4),
                width=2,
            )
    return picture


Background = Callable[[Random, int], Image.Image]

ANYWHERE: tuple[Background, ...] = (
    plain, graded, sky, ground, meadow, water, indoors, blurred, patterned,
)  # fmt: skip
