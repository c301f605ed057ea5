"""A pen that draws shapes in its own coordinates, so that one drawing takes any pose.

A subject is drawn in a square from -1 to 1 (x to the right, y down).
The pen turns, scales, mirrors and moves every point onto the canvas, and decides how edges look.
Subjects know nothing of pixels; nothing here knows what a subject is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

BLACK: Colour = (24, 22, 24)
WHITE: Colour = (250, 249, 245)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that lies `share` (0 to 1) of the way from `first` to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float = 0.25) -> Colour:
    """Return the colour with `share` of black in it."""
    return mix(colour, (0, 0, 0), share)


def lighter(colour: Colour, share: float = 0.25) -> Colour:
    """Return the colour with `share` of white in it."""
    return mix(colour, (255, 255, 255), share)


def near(rng: Random, colour: Colour, spread: int = 18) -> Colour:
    """Return a colour whose channels are each at most `spread` away."""
    red, green, blue = (
        min(255, max(0, channel + rng.randint(-spread, spread))) for channel in colour
    )
    return red, green, blue


def any_colour(rng: Random, low: int = 20, high: int = 240) -> Colour:
    """Return any colour whose channels lie between the two bounds."""
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def ring(centre: Point, radii: Point, angle: float = 0.0, steps: int = 40) -> list[Point]:
    """Return points round an ellipse that is turned by `angle` radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    points = []
    for step in range(steps):
        turn = 2 * math.pi * step / steps
        x, y = radii[0] * math.cos(turn), radii[1] * math.sin(turn)
        points.append((centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos))
    return points


def smooth(points: Sequence[Point], *, closed: bool, steps: int = 8) -> list[Point]:
    """Return a Catmull-Rom curve through the points."""
    count = len(points)
    spans = count if closed else count - 1

    def at(index: int) -> Point:
        return points[index % count] if closed else points[min(max(index, 0), count - 1)]

    curve = []
    for span in range(spans):
        p0, p1, p2, p3 = (at(span + offset) for offset in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            x, y = (
                0.5
                * (
                    2 * b
                    + (c - a) * t
                    + (2 * a - 5 * b + 4 * c - d) * t**2
                    + (3 * b - a - 3 * c + d) * t**3
                )
                for a, b, c, d in zip(p0, p1, p2, p3, strict=True)
            )
            curve.append((x, y))
    if not closed:
        curve.append(points[-1])
    return curve


@dataclass(frozen=True, slots=True)
class Style:
    """How edges and fills look: outline in the subject's units, wobble likewise, wash 0 to 1."""

    outline: Colour | None = None
    outline_width: float = 0.0
    wobble: float = 0.0
    wash: float = 0.0


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a subject stands: centre and scale in pixels, angle in radians, mirrored or not."""

    centre: Point
    scale: Point
    angle: float = 0.0
    mirrored: bool = False


class Pen:
    """Draws filled shapes and strokes of one subject onto one canvas."""

    def __init__(self, canvas: Image.Image, pose: Pose, style: Style, rng: Random) -> None:
        """Draw on `canvas` (RGB) in the given pose and style; `rng` moves wobbling points."""
        self._draw = ImageDraw.Draw(canvas)
        self._pose = pose
        self._style = style
        self._rng = rng
        self._unit = (abs(pose.scale[0]) + abs(pose.scale[1])) / 2

    def polygon(self, points: Sequence[Point], fill: Colour, *, edge: bool = True) -> None:
        """Fill a polygon, with the style's outline unless `edge` is false."""
        placed = self._place(points)
        self._draw.polygon(placed, fill=self._wash(fill))
        if edge and self._style.outline is not None:
            self._edge(placed, self._style.outline)

    def blob(self, points: Sequence[Point], fill: Colour, *, edge: bool = True) -> None:
        """Fill the smooth closed curve through the points."""
        self.polygon(smooth(points, closed=True), fill, edge=edge)

    def oval(
        self,
        centre: Point,
        radii: Point,
        fill: Colour,
        *,
        angle: float = 0.0,
        edge: bool = True,
    ) -> None:
        """Fill an ellipse that is turned by `angle` radians."""
        self.polygon(ring(centre, radii, angle), fill, edge=edge)

    def dot(self, centre: Point, radius: float, fill: Colour) -> None:
        """Fill a small circle without an outline."""
        self.polygon(ring(centre, (radius, radius), steps=16), fill, edge=False)

    def box(self, corner: Point, opposite: Point, fill: Colour, *, edge: bool = True) -> None:
        """Fill a rectangle between two opposite corners."""
        (left, top), (right, bottom) = corner, opposite
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill, edge=edge)

    def band(self, centre: Point, radii: Point, between: Point, fill: Colour) -> None:
        """Fill the slice of an ellipse between two of its x positions (-1 left, 1 right)."""
        start, end = between
        upper, lower = [], []
        for step in range(9):
            u = start + (end - start) * step / 8
            height = math.sqrt(max(0.0, 1 - u * u)) * radii[1]
            upper.append((centre[0] + u * radii[0], centre[1] - height))
            lower.append((centre[0] + u * radii[0], centre[1] + height))
        self.polygon(upper + lower[::-1], fill, edge=False)

    def stroke(
        self, points: Sequence[Point], width: float, fill: Colour, *, curved: bool = True
    ) -> None:
        """Draw a line of even width with round ends."""
        self.taper(points, (width, width), fill, curved=curved)

    def taper(
        self, points: Sequence[Point], widths: Point, fill: Colour, *, curved: bool = True
    ) -> None:
        """Draw a line whose width goes from the first to the second of `widths`."""
        course = smooth(points, closed=False) if curved and len(points) > 2 else list(points)
        placed = self._place(course)
        colour = self._wash(fill)
        last = max(1, len(placed) - 1)
        for index, (start, end) in enumerate(pairwise(placed)):
            width = (widths[0] + (widths[1] - widths[0]) * index / last) * self._unit
            self._draw.line([start, end], fill=colour, width=max(1, round(width)))
            if width > 3:
                self._disc(start, width / 2, colour)
                self._disc(end, width / 2, colour)

    def _disc(self, centre: Point, radius: float, colour: Colour) -> None:
        x, y = centre
        self._draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)

    def _edge(self, placed: list[Point], colour: Colour) -> None:
        width = max(1, round(self._style.outline_width * self._unit))
        self._draw.line([*placed, *placed[:2]], fill=colour, width=width, joint="curve")

    def _wash(self, colour: Colour) -> Colour:
        return mix(colour, (236, 232, 222), self._style.wash) if self._style.wash else colour

    def _place(self, points: Sequence[Point]) -> list[Point]:
        pose, wobble = self._pose, self._style.wobble
        cos, sin = math.cos(pose.angle), math.sin(pose.angle)
        side = -1 if pose.mirrored else 1
        placed = []
        for point in points:
            x, y = point
            if wobble:
                x += self._rng.uniform(-wobble, wobble)
                y += self._rng.uniform(-wobble, wobble)
            x, y = x * pose.scale[0] * side, y * pose.scale[1]
            placed.append((pose.centre[0] + x * cos - y * sin, pose.centre[1] + x * sin + y * cos))
        return placed
