"""The brushes of the drawing scripts: gradients, noise, ridges, soft light and shaded bodies, with Pillow only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Size = tuple[int, int]
Box = tuple[float, float, float, float]


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """``first`` at share 0, ``second`` at share 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def gradient(size: Size, stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """Top to bottom through ``stops`` = (place 0..1, colour), in order of place."""
    column = Image.new("RGB", (1, size[1]))
    for y in range(size[1]):
        place = y / max(1, size[1] - 1)
        low, high = stops[0], stops[-1]
        for left, right in pairwise(stops):
            if left[0] <= place <= right[0]:
                low, high = left, right
                break
        span = max(1e-9, high[0] - low[0])
        column.putpixel((0, y), mix(low[1], high[1], min(1.0, max(0.0, (place - low[0]) / span))))
    return column.resize(size)


def noise(size: Size, seed: int, cell: int, octaves: int = 4) -> Image.Image:
    """Cloudy grey, mean about 128; ``cell`` is the size in pixels of the largest blobs."""
    random = Random(seed)
    total = Image.new("L", size, 128)
    for octave in range(octaves):
        step = max(1, cell >> octave)
        grid = (max(2, size[0] // step + 2), max(2, size[1] // step + 2))
        layer = Image.frombytes("L", grid, random.randbytes(grid[0] * grid[1])).resize(size, Image.Resampling.BICUBIC)
        layer = layer.filter(ImageFilter.GaussianBlur(step / 3))
        total = ImageChops.add(total, layer, 1, -128) if octave == 0 else _add(total, layer, 0.5**octave)
    return total


def _add(total: Image.Image, layer: Image.Image, weight: float) -> Image.Image:
    flat = layer.point([round(128 + (value - 128) * weight) for value in range(256)])
    return ImageChops.add(total, flat, 1, -128)


def ridge(width: int, base: float, height: float, seed: int, cell: float, roughness: float = 0.5) -> list[Point]:
    """A mountain line from x = 0 to ``width``: value noise of five octaves, 0..``height`` above ``base``."""
    random = Random(seed)
    waves = [[random.random() for _ in range(int(width / cell * 2**octave) + 3)] for octave in range(6)]
    points: list[Point] = []
    for x in range(0, width + 4, 4):
        value, weight, total = 0.0, 1.0, 0.0
        for octave, samples in enumerate(waves):
            place = x / cell * 2**octave
            index, share = int(place), place - int(place)
            share = share * share * (3 - 2 * share)
            value += weight * (samples[index] * (1 - share) + samples[index + 1] * share)
            total += weight
            weight *= roughness
        points.append((float(x), base - height * value / total))
    return points


def below(size: Size, line: Sequence[Point]) -> Image.Image:
    """Mask of all that lies under a ridge."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([*line, (line[-1][0], size[1]), (0.0, float(size[1]))], fill=255)
    return mask


def scaled(mask: Image.Image, share: float) -> Image.Image:
    """A mask with its strength multiplied by ``share``."""
    return mask.point([min(255, round(value * share)) for value in range(256)])


def fade(size: Size, top: float, bottom: float, start: float = 255, end: float = 0) -> Image.Image:
    """A mask that goes from ``start`` at height ``top`` to ``end`` at ``bottom`` (pixels), flat outside."""
    column = Image.new("L", (1, size[1]))
    for y in range(size[1]):
        share = min(1.0, max(0.0, (y - top) / max(1.0, bottom - top)))
        column.putpixel((0, y), round(start + (end - start) * share))
    return column.resize(size)


def tint(image: Image.Image, colour: Colour, mask: Image.Image) -> None:
    """Lay a colour over the picture where the mask says."""
    image.paste(colour, (0, 0), mask)


def spot(size: Size, centre: Point, radius: float, power: float = 1.6) -> Image.Image:
    """A round mask, 255 in the middle and 0 at ``radius``."""
    edge = max(2, round(radius * 2))
    disc = Image.radial_gradient("L").resize((edge, edge), Image.Resampling.BILINEAR)
    # radial_gradient comes to 255 in the corners, thus to 180 where the circle touches the edge
    disc = disc.point([round(255 * max(0.0, 1 - value / 180) ** power) for value in range(256)])
    mask = Image.new("L", size)
    mask.paste(disc, (round(centre[0] - edge / 2), round(centre[1] - edge / 2)))
    return mask


def glow(image: Image.Image, centre: Point, radius: float, colour: Colour, share: float, power: float = 1.6) -> None:
    """Add light around a point."""
    light = Image.new("RGB", image.size)
    light.paste(colour, (0, 0), scaled(spot(image.size, centre, radius, power), share))
    image.paste(ImageChops.screen(image, light))


def shape(size: Size, *polygons: Sequence[Point]) -> Image.Image:
    """Mask of filled polygons."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for polygon in polygons:
        draw.polygon(list(polygon), fill=255)
    return mask


def ellipse(size: Size, box: Box) -> Image.Image:
    """Mask of a filled ellipse."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def curve(points: Sequence[Point], steps: int = 14) -> list[Point]:
    """A smooth closed line through all points (Catmull-Rom)."""
    line: list[Point] = []
    count = len(points)
    for index in range(count):
        p0, p1, p2, p3 = (points[(index + shift) % count] for shift in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            line.append((_spline(p0[0], p1[0], p2[0], p3[0], t), _spline(p0[1], p1[1], p2[1], p3[1], t)))
    return line


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t**3)


def stroke(draw: ImageDraw.ImageDraw, line: Sequence[Point], start: float, end: float, fill: int | Colour) -> None:
    """A line of round dabs whose width goes from ``start`` to ``end``: a brush, a branch, a limb."""
    lengths = [math.dist(a, b) for a, b in pairwise(line)]
    total, gone = sum(lengths) or 1.0, 0.0
    for (ax, ay), (bx, by), length in zip(line, line[1:], lengths, strict=False):
        dabs = max(1, round(length / 1.5))
        for dab in range(dabs + 1):
            share = dab / dabs
            radius = (start + (end - start) * (gone + length * share) / total) / 2
            x, y = ax + (bx - ax) * share, ay + (by - ay) * share
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        gone += length


def body(
    image: Image.Image, mask: Image.Image, dark: Colour, middle: Colour, light: Colour, at: Point, radius: float
) -> None:
    """A shaded round body: ``light`` around the point ``at``, ``dark`` towards the far edge."""
    tint(image, dark, mask)
    tint(image, middle, ImageChops.multiply(mask, spot(image.size, at, radius * 1.7, 0.9)))
    tint(image, light, ImageChops.multiply(mask, spot(image.size, at, radius * 0.8, 1.3)))


def soft(mask: Image.Image, radius: float) -> Image.Image:
    """A blurred mask."""
    return mask.filter(ImageFilter.GaussianBlur(radius))


def grain(image: Image.Image, seed: int, share: float, cell: int = 2) -> None:
    """Paper or film grain."""
    layer = noise(image.size, seed, cell, 2)
    image.paste(Image.blend(image, ImageChops.overlay(image, Image.merge("RGB", [layer] * 3)), share))


def vignette(image: Image.Image, share: float) -> None:
    """Darken the corners."""
    disc = Image.radial_gradient("L").resize(image.size, Image.Resampling.BILINEAR)
    tint(image, (12, 10, 18), disc.point([round(max(0, value - 150) * 2.2 * share) for value in range(256)]))


def finish(image: Image.Image, size: Size) -> Image.Image:
    """From the drawing size to the size of the file."""
    return image.resize(size, Image.Resampling.LANCZOS)
