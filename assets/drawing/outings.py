"""Sample scenes out of doors: bamboo, boat, balloons. Each returns the finished picture."""

from __future__ import annotations

import math
from random import Random

from brushes import (
    Point,
    below,
    curve,
    fade,
    finish,
    glow,
    gradient,
    mix,
    noise,
    ridge,
    scaled,
    shape,
    soft,
    spot,
    stroke,
    tint,
    vignette,
)
from PIL import Image, ImageChops, ImageDraw, ImageFilter


def bamboo() -> Image.Image:
    """A tall bamboo grove with light from above."""
    size, random = (840, 2160), Random(17)
    image = gradient(size, [(0, (236, 246, 200)), (0.4, (164, 208, 150)), (1, (30, 78, 66))])
    glow(image, (470, 120), 900, (255, 255, 210), 0.8)
    for layer, count, wide, colour, blur in (
        (0, 11, 20, (138, 188, 134), 7),
        (1, 8, 34, (86, 150, 92), 3),
        (2, 5, 62, (46, 116, 66), 0),
    ):
        sheet = image.copy()
        draw = ImageDraw.Draw(sheet)
        for index in range(count):
            x = (index + 0.2 + random.random() * 0.6) * size[0] / count
            lean, y, tone = (
                random.gauss(0, 22),
                -60.0 - random.random() * 120,
                mix(colour, (250, 255, 200), random.random() * 0.15),
            )
            while y < size[1]:
                part = wide * (4.4 + random.random())
                left = x - wide / 2 + lean * y / size[1]
                draw.rectangle((left, y, left + wide, y + part), fill=tone)
                draw.rectangle(
                    (left + wide * 0.16, y, left + wide * 0.34, y + part), fill=mix(tone, (255, 255, 220), 0.35)
                )
                draw.rectangle((left + wide * 0.76, y, left + wide, y + part), fill=mix(tone, (10, 40, 34), 0.35))
                draw.rounded_rectangle((left - 3, y - 5, left + wide + 3, y + 5), 4, fill=mix(tone, (16, 50, 40), 0.45))
                draw.line((left, y + 8, left + wide, y + 8), fill=mix(tone, (255, 255, 230), 0.5), width=2)
                if random.random() < 0.34:
                    leaves(
                        draw,
                        random,
                        (left + wide / 2, y),
                        wide * 2.2 + 40,
                        mix(colour, (40, 110, 50), random.random() * 0.5),
                    )
                y += part
        image = sheet.filter(ImageFilter.GaussianBlur(blur)) if blur else sheet
        if layer < 2:
            image.paste(Image.blend(image, gradient(size, [(0, (240, 250, 210)), (1, (60, 110, 90))]), 0.26))
    rays = Image.new("L", size)
    for x, wide in ((120, 60), (320, 110), (560, 70), (700, 120)):
        ImageDraw.Draw(rays).polygon(
            [(x + 260, -20), (x + 260 + wide, -20), (x + wide - 300, 1500), (x - 330, 1500)], fill=90
        )
    tint(image, (255, 255, 220), ImageChops.multiply(soft(rays, 26), fade(size, 0, 1500)))
    vignette(image, 0.5)
    return finish(image, (480, 1234))


def leaves(draw: ImageDraw.ImageDraw, random: Random, at: Point, reach: float, colour: tuple[int, int, int]) -> None:
    """A spray of pointed leaves that hang to one side."""
    side = random.choice((-1, 1))
    for _ in range(5):
        angle, long = math.radians(random.uniform(-25, 70)), reach * random.uniform(0.6, 1.1)
        x, y = at[0] + side * random.random() * 30, at[1] + random.random() * 14
        tip = (x + side * long * math.cos(angle), y + long * math.sin(angle))
        across = (-(tip[1] - y) * 0.09, (tip[0] - x) * 0.09)
        mid = (x + (tip[0] - x) * 0.4, y + (tip[1] - y) * 0.4)
        draw.polygon(
            [(x, y), (mid[0] + across[0], mid[1] + across[1]), tip, (mid[0] - across[0], mid[1] - across[1])],
            fill=colour,
        )


def boat() -> Image.Image:
    """A sailing boat on a bright sea; upright 3:4 when its orientation tag is obeyed."""
    size, horizon = (1200, 1600), 900
    image = gradient(
        size,
        [
            (0, (64, 148, 214)),
            (0.4, (150, 208, 238)),
            (0.5625, (232, 244, 240)),
            (0.5626, (38, 126, 158)),
            (1, (10, 62, 104)),
        ],
    )
    puffs = (
        noise((800, 1600), 21, 260, 6).resize(size).point([max(0, min(255, (value - 128) * 4)) for value in range(256)])
    )
    tint(image, (255, 255, 255), ImageChops.multiply(scaled(puffs, 0.9), fade(size, 240, 880)))
    isle = Image.new("L", size)
    isle.paste(below(size, ridge(1200, 905, 150, 4, 420)).crop((0, 0, 1200, horizon)), (0, 0))
    tint(image, (110, 156, 170), ImageChops.multiply(isle, fade(size, 740, 905, 255, 130)))
    random, draw = Random(6), ImageDraw.Draw(image)
    for _ in range(620):
        y = horizon + 6 + random.random() ** 1.5 * 690
        depth = (y - horizon) / 700
        x, reach, light = random.random() * 1200, 8 + depth * 70 * random.random(), random.random()
        tone = mix(
            mix((38, 126, 158), (10, 62, 104), depth),
            (224, 246, 244) if light > 0.6 else (8, 50, 90),
            0.2 + 0.4 * random.random(),
        )
        draw.arc(
            (x - reach, y - 3 - depth * 12, x + reach, y + 3 + depth * 12),
            190,
            350,
            fill=tone,
            width=2 + round(depth * 4),
        )
    draw.polygon(curve([(640, 960), (624, 620), (660, 330), (830, 700), (880, 950)], 16), fill=(250, 246, 236))
    draw.polygon([(640, 960), (640, 330), (664, 340), (700, 640), (706, 960)], fill=(232, 224, 208))
    draw.polygon(curve([(612, 950), (600, 640), (606, 400), (480, 740), (400, 940)], 16), fill=(214, 74, 60))
    draw.polygon([(612, 420), (612, 950), (560, 948), (596, 600)], fill=(178, 52, 48))
    draw.rectangle((616, 300, 630, 1010), fill=(110, 72, 46))
    draw.polygon([(630, 300), (704, 322), (630, 346)], fill=(240, 186, 66))
    hull = [(390, 1000), (900, 1000), (836, 1092), (470, 1092)]
    draw.polygon(hull, fill=(126, 62, 40))
    draw.polygon([(390, 1000), (900, 1000), (886, 1022), (402, 1022)], fill=(246, 240, 226))
    draw.polygon([(452, 1074), (848, 1074), (836, 1092), (470, 1092)], fill=(86, 40, 30))
    for y, reach, tone in ((1096, 300, (222, 244, 244)), (1112, 240, (160, 212, 220)), (1132, 170, (120, 184, 200))):
        draw.arc((646 - reach, y - 14, 646 + reach, y + 14), 10, 170, fill=tone, width=5)
    for x, y, reach in ((250, 420, 44), (330, 372, 34), (940, 520, 30)):
        draw.arc((x - reach, y, x, y + reach), 200, 330, fill=(250, 252, 252), width=7)
        draw.arc((x, y, x + reach, y + reach), 210, 340, fill=(250, 252, 252), width=7)
    return finish(image, (600, 800))


def balloons() -> Image.Image:
    """Hot-air balloons over morning hills."""
    size = (1600, 1200)
    image = gradient(size, [(0, (96, 178, 226)), (0.45, (190, 226, 234)), (0.7, (255, 236, 200))])
    glow(image, (300, 760), 700, (255, 214, 150), 0.8)
    for step, (base, rise, seed) in enumerate(((900, 190, 31), (980, 200, 52), (1090, 210, 33), (1210, 200, 64))):
        mask = below(size, ridge(1600, base, rise, seed, 620, 0.3))
        tint(image, mix((158, 202, 176), (40, 104, 84), step / 3), mask)
        tint(image, (255, 238, 204), ImageChops.multiply(mask, fade(size, base - rise * 0.4, base + 90, 0, 120)))
    palettes = [
        ((220, 70, 62), (250, 236, 214)),
        ((42, 98, 150), (250, 202, 92)),
        ((238, 150, 60), (140, 60, 96)),
        ((90, 160, 140), (252, 240, 214)),
        ((122, 84, 158), (244, 170, 150)),
    ]
    places = [(520, 430, 210), (1060, 300, 150), (1330, 560, 108), (860, 640, 80), (190, 300, 66)]
    for (x, y, radius), pair in zip(places, palettes, strict=True):
        balloon(image, x, y, radius, pair)
    return finish(image, (800, 600))


def balloon(
    image: Image.Image, x: float, y: float, radius: float, pair: tuple[tuple[int, int, int], tuple[int, int, int]]
) -> None:
    """One balloon with eight striped gores and a basket."""
    r, size = radius, image.size
    whole = shape(size, _envelope(x, y, r, r))
    sheet = Image.new("RGB", size, pair[0])
    for index in range(7, 0, -1):
        reach = r * math.sin(math.pi / 2 * index / 7)
        ImageDraw.Draw(sheet).polygon(_envelope(x, y, r, reach), fill=pair[index % 2])
    image.paste(sheet, (0, 0), whole)
    tint(
        image,
        (40, 24, 60),
        ImageChops.multiply(whole, scaled(spot(size, (x + r * 0.75, y + r * 0.5), r * 1.3, 0.8), 0.55)),
    )
    tint(
        image,
        (255, 255, 240),
        ImageChops.multiply(whole, scaled(spot(size, (x - r * 0.4, y - r * 0.4), r * 0.9, 1.4), 0.6)),
    )
    draw = ImageDraw.Draw(image)
    for dx in (-0.17, 0.17):
        draw.line(
            (x + dx * r, y + r * 1.2, x + dx * r * 0.75, y + r * 1.52), fill=(90, 60, 44), width=max(1, round(r / 60))
        )
    draw.rounded_rectangle((x - r * 0.15, y + r * 1.5, x + r * 0.15, y + r * 1.72), r * 0.04, fill=(128, 84, 50))
    stroke(draw, [(x - r * 0.16, y + r * 1.51), (x + r * 0.16, y + r * 1.51)], r * 0.05, r * 0.05, (92, 58, 36))


def _envelope(x: float, y: float, radius: float, reach: float) -> list[Point]:
    """A balloon seen from the side, narrowed to ``reach``: a half circle above, a taper below."""
    right = []
    for step in range(61):
        t = step / 60
        wide = math.sin(math.acos(max(-1.0, 1 - t / 0.46))) if t < 0.46 else 1 - 0.84 * ((t - 0.46) / 0.54) ** 1.8
        right.append((reach * wide, y - radius + radius * 2.2 * t))
    return [(x + wide, py) for wide, py in right] + [(x - wide, py) for wide, py in reversed(right)]
