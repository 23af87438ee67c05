"""Draws the program's icon from one list of shapes: assets/icon.svg, and icon.png, .ico and .icns with Pillow.

Run ``python assets/drawing/draw_icon.py [FOLDER]``. The same Pillow gives the same bytes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from brushes import Colour, Point, gradient
from PIL import Image, ImageChops, ImageDraw

EDGE = 512
"""All coordinates are in this square."""
_SCALE = 4
_ICO_SIZES = [(size, size) for size in (16, 24, 32, 48, 64, 128, 256)]
_PLATE = (20, 20, 492, 492, 112)
_PLATE_TOP, _PLATE_BOTTOM = (58, 124, 240), (24, 70, 170)
_PAPER, _SKY, _SUN = (255, 255, 255), (196, 226, 255), (255, 186, 58)
_FAR, _NEAR = (96, 156, 244), (24, 70, 170)
_PICTURE = (150, 214, 390, 390, 16)
"""The picture on the front card; the mountains are cut off at its frame."""
_FAR_PEAK: list[Point] = [(206, 390), (308, 262), (420, 390)]
_NEAR_PEAK: list[Point] = [(130, 390), (228, 296), (326, 390)]

RoundedBox = tuple[float, float, float, float, float]


def star(x: float, y: float, reach: float) -> list[Point]:
    """A four-pointed sparkle with hollow sides."""
    points = []
    for step in range(64):
        angle = step * math.tau / 64
        away = reach / (abs(math.cos(angle)) ** 0.62 + abs(math.sin(angle)) ** 0.62) ** (1 / 0.62)
        points.append((x + away * math.cos(angle), y + away * math.sin(angle)))
    return points


SPARKLES = [star(392, 142, 88), star(300, 98, 38)]
BACK_CARD: RoundedBox = (88, 140, 332, 344, 28)
FRONT_CARD: RoundedBox = (126, 190, 414, 414, 30)


def svg() -> str:
    """The icon as SVG."""

    def box(shape: RoundedBox, fill: str, extra: str = "") -> str:
        x0, y0, x1, y1, radius = shape
        size = f'x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}" rx="{radius:g}"'
        return f'<rect {size} fill="{fill}"{extra}/>'

    def polygon(points: Sequence[Point], colour: Colour, extra: str = "") -> str:
        places = " ".join(f"{round(x, 1):g},{round(y, 1):g}" for x, y in points)
        return f'<polygon points="{places}" fill="{_hex(colour)}"{extra}/>'

    clip = ' clip-path="url(#picture)"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {EDGE} {EDGE}">',
        '<defs><linearGradient id="plate" x1="0" y1="0" x2="0" y2="1">',
        f'<stop offset="0" stop-color="{_hex(_PLATE_TOP)}"/><stop offset="1" stop-color="{_hex(_PLATE_BOTTOM)}"/>',
        f'</linearGradient><clipPath id="picture">{box(_PICTURE, "#000")}</clipPath></defs>',
        box(_PLATE, "url(#plate)"),
        box(BACK_CARD, _hex(_PAPER), ' fill-opacity="0.45"'),
        box(FRONT_CARD, _hex(_PAPER)),
        box(_PICTURE, _hex(_SKY)),
        f'<circle cx="212" cy="262" r="24" fill="{_hex(_SUN)}"/>',
        polygon(_FAR_PEAK, _FAR, clip),
        polygon(_NEAR_PEAK, _NEAR, clip),
        *(polygon(points, _SUN) for points in SPARKLES),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def bitmap(edge: int) -> Image.Image:
    """The icon as pixels, drawn large and made small."""
    size = (EDGE * _SCALE, EDGE * _SCALE)
    image = Image.new("RGBA", size)

    def box(shape: RoundedBox) -> Image.Image:
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).rounded_rectangle([value * _SCALE for value in shape[:4]], shape[4] * _SCALE, fill=255)
        return mask

    def polygon(points: Sequence[Point]) -> Image.Image:
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=255)
        return mask

    plate = gradient(size, [(0, _PLATE_TOP), (1, _PLATE_BOTTOM)])
    image.paste(plate.convert("RGBA"), (0, 0), box(_PLATE))
    image.paste((*_PAPER, 255), (0, 0), box(BACK_CARD).point([value * 45 // 100 for value in range(256)]))
    image.paste((*_PAPER, 255), (0, 0), box(FRONT_CARD))
    frame = box(_PICTURE)
    image.paste((*_SKY, 255), (0, 0), frame)
    image.paste((*_SUN, 255), (0, 0), box((188, 238, 236, 286, 24)))
    image.paste((*_FAR, 255), (0, 0), ImageChops.multiply(frame, polygon(_FAR_PEAK)))
    image.paste((*_NEAR, 255), (0, 0), ImageChops.multiply(frame, polygon(_NEAR_PEAK)))
    for points in SPARKLES:
        image.paste((*_SUN, 255), (0, 0), polygon(points))
    return image.resize((edge, edge), Image.Resampling.LANCZOS)


def main(folder: Path) -> None:
    """Write all four files into ``folder``."""
    large = bitmap(1024)
    (folder / "icon.svg").write_text(svg(), encoding="utf-8")
    large.resize((EDGE, EDGE), Image.Resampling.LANCZOS).save(folder / "icon.png", optimize=True)
    large.save(folder / "icon.ico", sizes=_ICO_SIZES)
    large.resize((EDGE, EDGE), Image.Resampling.LANCZOS).save(folder / "icon.icns")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
