"""Sample scenes seen from afar: lake, ink mountains, city, dunes. Each returns the finished picture."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

from brushes import (
    Point,
    below,
    body,
    curve,
    ellipse,
    fade,
    finish,
    glow,
    gradient,
    grain,
    mix,
    noise,
    ridge,
    scaled,
    shape,
    soft,
    spot,
    tint,
    vignette,
)
from PIL import Image, ImageChops, ImageDraw, ImageFilter


def lake() -> Image.Image:
    """A mountain lake at dawn with its reflection."""
    width, height, shore = 1800, 1200, 700
    size = (width, height)
    image = gradient(
        size, [(0, (52, 84, 146)), (0.25, (150, 150, 196)), (0.42, (250, 178, 150)), (0.56, (255, 228, 176))]
    )
    clouds = (
        noise((600, 1200), 3, 220, 5).resize(size).point([max(0, min(255, (value - 120) * 3)) for value in range(256)])
    )
    tint(image, (255, 214, 200), ImageChops.multiply(scaled(clouds, 0.55), fade(size, 60, 560)))
    glow(image, (1180, 590), 620, (255, 196, 120), 0.9)
    ImageDraw.Draw(image).ellipse((1138, 528, 1222, 612), fill=(255, 244, 214))
    layers = [
        (640, 420, 11, 520, (122, 120, 168)),
        (668, 300, 24, 420, (92, 96, 146)),
        (690, 190, 37, 330, (62, 74, 112)),
    ]
    for base, rise, seed, cell, colour in layers:
        mask = below(size, ridge(width, base, rise, seed, cell))
        tint(image, colour, mask)
        sun = ImageChops.multiply(mask, spot(size, (1180, base - rise * 0.5), 700, 1.2))
        tint(image, mix(colour, (255, 190, 150), 0.55), scaled(sun, 0.7))
        tint(image, (250, 206, 184), ImageChops.multiply(mask, fade(size, base - rise * 0.55, 720, 0, 190)))
    draw = ImageDraw.Draw(image)
    random = Random(5)
    for x in range(0, width, 13):
        tall = 18 + random.random() * 46 * (0.4 + 0.6 * abs(math.sin(x / 260)))
        draw.polygon([(x - 11, shore + 2), (x, shore - tall), (x + 11, shore + 2)], fill=(34, 52, 74))
    mirror = image.crop((0, 2 * shore - height, width, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    mirror = mirror.filter(ImageFilter.BoxBlur((7, 2)))
    water = Image.new("RGB", mirror.size)
    for y in range(mirror.height):
        row = mirror.crop((0, y, width, y + 1))
        water.paste(ImageChops.offset(row, round(math.sin(y * 0.35) * (2 + y / 60)), 0), (0, y))
    image.paste(Image.blend(water, Image.new("RGB", water.size, (40, 66, 110)), 0.22), (0, shore))
    draw = ImageDraw.Draw(image)
    for _ in range(90):
        down = 8 + random.random() ** 1.6 * 460
        place, reach = 1180 + random.gauss(0, 60 + down * 0.4), 14 + down * 0.12
        draw.line((place - reach, shore + down, place + reach, shore + down), fill=(255, 224, 184), width=2)
    bank = below(size, ridge(width, 1200, 120, 91, 500))
    tint(image, (22, 34, 48), bank)
    for x, tall in ((90, 620), (210, 430), (300, 540), (1650, 500), (1745, 660)):
        pine(image, x, 1190, tall, (18, 32, 44))
    vignette(image, 0.3)
    return finish(image, (960, 640))


def pine(image: Image.Image, x: float, foot: float, tall: float, colour: tuple[int, int, int]) -> None:
    """A fir tree as a dark shape."""
    draw, random = ImageDraw.Draw(image), Random(int(x * 7 + tall))
    draw.rectangle((x - tall * 0.012, foot - tall, x + tall * 0.012, foot), fill=colour)
    steps = int(tall / 13)
    for step in range(steps):
        y = foot - tall + (tall * 0.93) * step / steps
        reach = tall * 0.21 * (step + 1) / steps * (0.72 + random.random() * 0.42)
        draw.polygon(
            [(x, y - 16), (x - reach, y + reach * 0.34), (x, y + 14), (x + reach, y + reach * 0.34)], fill=colour
        )


def ink_mountains() -> Image.Image:
    """Mountains and water in the Chinese manner: ink that fades into mist, a pavilion, a boat, a seal."""
    size = (1280, 1920)
    image = gradient(size, [(0, (240, 230, 208)), (0.5, (246, 239, 222)), (1, (236, 224, 198))])
    ImageDraw.Draw(image).ellipse((850, 190, 1010, 350), fill=(214, 96, 70))
    layers = [
        (900, 560, 15, 560, (168, 176, 178), 520),
        (1060, 640, 128, 470, (122, 136, 140), 560),
        (1270, 560, 63, 380, (84, 100, 104), 470),
        (1500, 400, 77, 330, (56, 68, 72), 380),
    ]
    for base, rise, seed, cell, colour, depth in layers:
        line = ridge(size[0], base, rise, seed, cell, 0.42)
        mask = below(size, line)
        drop = Image.new("L", size)
        for x, y in line:  # ink is dark at the edge of the ridge and runs out below it
            drop.paste(fade((4, depth), 0, depth, 235, 0), (round(x), round(y)))
        ink = ImageChops.multiply(mask, soft(drop, 3))
        wash = noise(size, seed + 1, 90, 5).point([min(255, 120 + value) for value in range(256)])
        tint(image, colour, ImageChops.multiply(ink, wash))
        rim = ImageDraw.Draw(image)
        for (ax, ay), (bx, by) in pairwise(line):
            rim.line(
                (ax, ay, bx, by), fill=mix(colour, (20, 26, 28), 0.35), width=2 + round(2 * abs(math.sin(ax / 37)))
            )
        foliage(image, line, seed, mix(colour, (24, 34, 34), 0.5))
    pavilion(image, 330, 1360)
    draw = ImageDraw.Draw(image)
    hull = curve([(790, 1690), (900, 1712), (1010, 1688), (985, 1722), (900, 1734), (812, 1720)])
    draw.polygon(hull, fill=(40, 46, 48))
    draw.polygon([(905, 1706), (918, 1654), (936, 1706)], fill=(58, 66, 68))
    draw.polygon([(896, 1660), (918, 1636), (941, 1660)], fill=(150, 112, 66))
    draw.line((936, 1668, 1080, 1600), fill=(60, 60, 58), width=3)
    draw.line((1080, 1600, 1082, 1716), fill=(120, 120, 116), width=1)
    for y, x, reach in ((1750, 900, 150), (1776, 820, 90), (1800, 1010, 110), (1840, 520, 130), (1712, 540, 70)):
        draw.arc((x - reach, y - 7, x + reach, y + 7), 20, 160, fill=(150, 156, 152), width=2)
    for x, y, reach in ((470, 380, 30), (540, 350, 24), (590, 410, 20), (420, 440, 18)):
        draw.arc((x - reach, y, x, y + reach), 200, 330, fill=(60, 64, 66), width=4)
        draw.arc((x, y, x + reach, y + reach), 210, 340, fill=(60, 64, 66), width=4)
    draw.rounded_rectangle((1120, 1740, 1196, 1816), 8, fill=(178, 44, 36))
    for bar in ((1134, 1796, 1182, 1802), (1155, 1754, 1161, 1800), (1134, 1772, 1140, 1800), (1176, 1772, 1182, 1800)):
        draw.rectangle(bar, fill=(244, 226, 206))
    grain(image, 9, 0.14, 3)
    return finish(image, (640, 960))


def foliage(image: Image.Image, line: list[Point], seed: int, colour: tuple[int, int, int]) -> None:
    """Dots of ink along the lower slopes: trees seen from afar."""
    draw, random = ImageDraw.Draw(image, "RGBA"), Random(seed)
    for x, y in line[::3]:
        for _ in range(3):
            down, reach = random.random() ** 2 * 160, 3 + random.random() * 6
            if random.random() < 0.5:
                place = (x + random.gauss(0, 8), y + down)
                box = (place[0] - reach, place[1] - reach * 0.6, place[0] + reach, place[1] + reach * 0.6)
                draw.ellipse(box, fill=(*colour, round(150 * (1 - down / 190))))


def pavilion(image: Image.Image, x: float, y: float) -> None:
    """A small open hall under a curved roof."""
    draw, dark, red = ImageDraw.Draw(image), (44, 42, 40), (140, 58, 44)
    for dx in (-62, -24, 24, 62):
        draw.rectangle((x + dx - 5, y - 92, x + dx + 5, y), fill=red)
    draw.rectangle((x - 92, y, x + 92, y + 14), fill=(120, 112, 100))
    for top, reach in ((y - 92, 112), (y - 140, 74)):
        roof = [(x - reach, top - 8), (x - reach * 0.6, top - 14), (x - reach * 0.28, top - 44), (x, top - 56)]
        roof += [(2 * x - px, py) for px, py in reversed(roof[:-1])]
        draw.polygon([*roof, (x + reach * 0.6, top + 4), (x - reach * 0.6, top + 4)], fill=dark)
    draw.ellipse((x - 7, y - 210, x + 7, y - 190), fill=red)


def night_city() -> Image.Image:
    """A harbour skyline under the moon."""
    size, quay = (1600, 1066), 760
    image = gradient(size, [(0, (14, 18, 52)), (0.45, (58, 42, 104)), (0.7, (176, 88, 120)), (0.74, (232, 140, 118))])
    draw, random = ImageDraw.Draw(image), Random(41)
    for _ in range(170):
        x, y, lum = random.random() * 1600, random.random() ** 1.4 * 480, 110 + int(random.random() * 140)
        draw.ellipse((x, y, x + 2.4, y + 2.4), fill=(lum, lum, min(255, lum + 20)))
    glow(image, (1230, 210), 330, (250, 226, 190), 0.55)
    body(
        image, ellipse(size, (1155, 135, 1305, 285)), (226, 206, 176), (246, 234, 208), (255, 250, 236), (1210, 190), 90
    )
    for tone, low, high, wide, lit in (
        ((84, 58, 118), 200, 520, 74, 0.14),
        ((46, 36, 84), 130, 600, 92, 0.32),
        ((20, 18, 46), 60, 330, 116, 0.42),
    ):
        x = -20.0
        while x < 1600:
            w, h = (
                wide * (0.6 + random.random() * 0.8),
                low + random.random() ** 1.7 * (high - low) * (1.25 - abs(x - 620) / 1100),
            )
            draw = ImageDraw.Draw(image)
            draw.rectangle((x, quay - h, x + w, quay), fill=tone)
            if random.random() < 0.3 and h > 240:
                draw.polygon([(x + w * 0.3, quay - h), (x + w / 2, quay - h - 60), (x + w * 0.7, quay - h)], fill=tone)
                draw.line((x + w / 2, quay - h - 60, x + w / 2, quay - h - 110), fill=tone, width=4)
            for wx in range(int(x) + 9, int(x + w) - 12, 17):
                for wy in range(int(quay - h) + 12, quay - 14, 22):
                    if random.random() < lit:
                        lamp = random.choice([(255, 214, 130), (255, 190, 104), (255, 236, 190), (150, 210, 240)])
                        draw.rectangle((wx, wy, wx + 8, wy + 11), fill=mix(tone, lamp, 0.55 + random.random() * 0.4))
            x += w + random.random() * 16
    mirror = image.crop((0, 2 * quay - size[1], size[0], quay)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    mirror = mirror.filter(ImageFilter.BoxBlur((2, 16)))
    water = Image.new("RGB", mirror.size)
    for y in range(mirror.height):
        row = mirror.crop((0, y, size[0], y + 1))
        water.paste(ImageChops.offset(row, round(math.sin(y * 0.5 + math.sin(y * 0.13) * 3) * (3 + y / 30)), 0), (0, y))
    image.paste(Image.blend(water, Image.new("RGB", water.size, (14, 14, 44)), 0.38), (0, quay))
    ImageDraw.Draw(image).rectangle((0, quay - 5, 1600, quay + 3), fill=(12, 12, 34))
    image.paste(ImageChops.screen(image, scaled_light(image)))
    return finish(image, (900, 600))


def scaled_light(image: Image.Image) -> Image.Image:
    """The bright parts alone, blurred: bloom."""
    return image.point([max(0, value - 140) for value in range(256)] * 3).filter(ImageFilter.GaussianBlur(9))


def dunes() -> Image.Image:
    """A wide desert at sunset."""
    size = (2400, 800)
    image = gradient(
        size, [(0, (66, 60, 118)), (0.35, (222, 114, 110)), (0.55, (252, 186, 116)), (0.62, (255, 222, 150))]
    )
    glow(image, (1720, 400), 560, (255, 200, 120), 0.9)
    ImageDraw.Draw(image).ellipse((1655, 320, 1785, 450), fill=(255, 240, 200))
    dune_list = [
        ((1130, 436), (100, 640), (2300, 640), 0),
        ((420, 420), (-360, 700), (1240, 820), 1),
        ((1980, 470), (1080, 840), (2960, 780), 2),
        ((900, 560), (-300, 900), (2300, 900), 3),
    ]
    tint(image, (238, 158, 104), below(size, [(0.0, 520.0), (2400.0, 520.0)]))
    for peak, left, right, step in dune_list:
        dune(image, peak, left, right, step)
    slope = _slope(dune_list[0][0], dune_list[0][2])
    draw = ImageDraw.Draw(image)
    for x in (1262, 1338, 1412, 1490):
        foot = max(y for px, y in slope if px <= x)
        camel(draw, x, foot + 2, 0.82)
    vignette(image, 0.35)
    return finish(image, (1500, 500))


def dune(image: Image.Image, peak: Point, left: Point, right: Point, step: int) -> None:
    """One dune: a lit side towards the sun, a dark side, and the crest that winds down between them."""
    size = image.size
    crest = _bend(peak, ((peak[0] + right[0]) / 2 - 420, size[1] + 60.0), 190)
    west, east = _slope(peak, left), _slope(peak, right)
    whole = shape(size, [*reversed(west), *east, (right[0], size[1] + 9), (left[0], size[1] + 9)])
    dark = shape(size, [*reversed(west), *crest, (left[0], size[1] + 60)])
    tint(image, mix((248, 176, 112), (222, 116, 70), step / 3), whole)
    tint(image, (255, 226, 164), ImageChops.multiply(whole, fade(size, peak[1] - 10, peak[1] + 110, 150, 0)))
    side = ImageChops.multiply(whole, soft(dark, 2))
    tint(image, mix((160, 84, 92), (104, 46, 66), step / 3), side)
    tint(image, (226, 122, 96), ImageChops.multiply(side, fade(size, peak[1] + 40, size[1] + 40, 0, 130)))
    ripples = noise((size[0] // 9, size[1]), 70 + step, 10, 2).resize(size).point([max(0, v - 132) for v in range(256)])
    tint(image, (255, 232, 190), ImageChops.multiply(whole, scaled(ripples, 0.8)))


def _slope(peak: Point, foot: Point) -> list[Point]:
    steps = [step / 40 for step in range(41)]
    return [(peak[0] + (foot[0] - peak[0]) * t, peak[1] + (foot[1] - peak[1]) * (1 - (1 - t) ** 1.7)) for t in steps]


def _bend(start: Point, end: Point, swing: float) -> list[Point]:
    line = []
    for step in range(41):
        t = step / 40
        line.append(
            (
                start[0] + (end[0] - start[0]) * t + swing * math.sin(t * math.pi * 1.9) * t,
                start[1] + (end[1] - start[1]) * t,
            )
        )
    return line


def camel(draw: ImageDraw.ImageDraw, x: float, y: float, scale: float) -> None:
    """One camel of a caravan, about 80 pixels long."""
    dark = (58, 26, 44)
    outline = [
        (-30, -34),
        (-22, -52),
        (-13, -38),
        (-3, -40),
        (7, -56),
        (15, -38),
        (24, -36),
        (31, -48),
        (34, -66),
        (47, -66),
        (48, -59),
        (40, -57),
        (39, -42),
        (30, -24),
        (16, -20),
        (-20, -20),
        (-31, -24),
    ]
    draw.polygon(curve([(x + dx * scale, y + dy * scale) for dx, dy in outline], 5), fill=dark)
    for dx, lean in ((-26, -4), (-19, 4), (17, -5), (25, 3)):
        draw.line((x + dx * scale, y - 24 * scale, x + (dx + lean) * scale, y + 8 * scale), fill=dark, width=5)
