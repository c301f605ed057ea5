"""Draws what `lumen classify --output json` said beneath each picture, as one sheet.

lumen classify examples/pictures --output json | python examples/demo/gallery.py sheet.png
"""

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, CAPTION, COLUMNS = 180, 14, 58, 6
INK, GREY, GROUND, ACCENT = "#1c2733", "#66727f", "#ffffff", "#0b7a5b"


def caption(row: dict) -> tuple[str, str, str]:
    """The answer, its share, and how the cascade came to it."""
    best = row["labels"][0]
    if row["source"] != "bioclip_classification":
        return row["scene"], f"{row['scene_share']:.2f}", "CLIP: no animal, no species"
    latin = " ".join(best["lineage"][5:7])
    return row["answer"], f"{best['share']:.2f}", f"an animal: {latin}"


def sheet(rows: list[dict]) -> Image.Image:
    """All pictures in a grid, captions beneath."""
    lines = -(-len(rows) // COLUMNS)
    size = (COLUMNS * (SIDE + GAP) + GAP, lines * (SIDE + CAPTION + GAP) + GAP)
    page = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(page)
    big, small = ImageFont.load_default(15), ImageFont.load_default(11)
    for index, row in enumerate(rows):
        x = GAP + index % COLUMNS * (SIDE + GAP)
        y = GAP + index // COLUMNS * (SIDE + CAPTION + GAP)
        with Image.open(row["picture"]) as picture:
            page.paste(picture.convert("RGB").resize((SIDE, SIDE)), (x, y))
        answer, share, why = caption(row)
        species = row["source"] == "bioclip_classification"
        pen.text((x, y + SIDE + 6), answer, ACCENT if species else INK, font=big)
        pen.text((x + SIDE, y + SIDE + 6), share, INK, font=big, anchor="ra")
        pen.text((x, y + SIDE + 30), why, GREY, font=small)
    return page


if __name__ == "__main__":
    sheet(json.load(sys.stdin)).save(Path(sys.argv[1]), optimize=True)
