"""Sample scenes close by: fruit and jug, plum blossom. Each returns the finished picture."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

from brushes import (
    Colour,
    Point,
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
    scaled,
    shape,
    soft,
    spot,
    stroke,
    tint,
    vignette,
)
from PIL import Image, ImageChops, ImageDraw


def fruit() -> Image.Image:
    """A jug, pears and an orange on a table by a window."""
    size, edge = (1600, 1200), 800
    image = gradient(size, [(0, (206, 186, 158)), (0.66, (168, 140, 112)), (0.6667, (126, 78, 50)), (1, (88, 50, 32))])
    plaster = noise(size, 8, 120, 5).point([max(0, value - 118) for value in range(256)])
    tint(image, (236, 220, 192), ImageChops.multiply(plaster, fade(size, edge - 4, edge)))
    pane = Image.new("L", size)
    for x, y in ((150, 90), (370, 90), (150, 330), (370, 330)):
        ImageDraw.Draw(pane).polygon([(x, y), (x + 196, y + 26), (x + 196, y + 236), (x, y + 216)], fill=170)
    tint(image, (255, 238, 200), soft(pane, 9))
    planks = noise((size[0] // 14, size[1]), 5, 9, 3).resize(size).point([max(0, value - 120) for value in range(256)])
    tint(image, (176, 116, 74), ImageChops.multiply(planks, fade(size, edge, edge + 2, 0, 255)))
    glow(image, (360, 900), 700, (120, 80, 40), 0.8)
    for x, y, reach in ((800, 1010, 330), (1160, 1040, 250), (520, 1050, 230), (1370, 1060, 170)):
        dark = ellipse(size, (x - reach * 0.5, y - reach * 0.13, x + reach * 1.25, y + reach * 0.2))
        tint(image, (40, 20, 14), scaled(soft(dark, 20), 0.7))
    jug(image)
    pear(image, 1130, 870, 1.0, ((118, 106, 26), (186, 176, 60), (240, 232, 140)))
    pear(image, 470, 905, 0.86, ((136, 60, 28), (206, 128, 52), (250, 206, 120)))
    round_fruit(image, (1370, 960), 112, ((150, 56, 10), (234, 126, 30), (255, 206, 120)))
    round_fruit(image, (665, 985), 82, ((70, 16, 30), (142, 40, 52), (226, 120, 120)))
    vignette(image, 0.5)
    return finish(image, (800, 600))


def jug(image: Image.Image) -> None:
    """A blue and white jug with a painted branch."""
    size = image.size
    handle = Image.new("L", size)
    stroke(
        ImageDraw.Draw(handle),
        curve([(900, 470), (1040, 500), (1030, 660), (930, 740), (900, 600)], 20)[:70],
        34,
        30,
        255,
    )
    body(image, handle, (110, 124, 150), (198, 208, 220), (246, 248, 250), (950, 500), 160)
    outline = curve(
        [
            (700, 330),
            (800, 318),
            (900, 330),
            (880, 470),
            (960, 640),
            (970, 830),
            (900, 980),
            (700, 980),
            (630, 830),
            (640, 640),
            (720, 470),
        ]
    )
    mask = shape(size, outline, [(690, 330), (640, 300), (720, 420)])
    body(image, mask, (98, 112, 144), (204, 212, 222), (252, 252, 248), (710, 600), 330)
    paint = Image.new("L", size)
    draw = ImageDraw.Draw(paint)
    stroke(draw, [(640, 900), (720, 800), (790, 700), (830, 600)], 16, 6, 255)
    stroke(draw, [(720, 800), (850, 780), (920, 720)], 10, 5, 255)
    for x, y, reach in ((830, 600, 40), (770, 660, 30), (920, 715, 36), (850, 790, 28), (690, 780, 32), (880, 860, 34)):
        for petal in range(5):
            angle = petal * math.tau / 5
            px, py = x + reach * 0.7 * math.cos(angle), y + reach * 0.7 * math.sin(angle)
            draw.ellipse((px - reach * 0.45, py - reach * 0.45, px + reach * 0.45, py + reach * 0.45), fill=255)
    for y in (352, 940):
        draw.arc((600, y - 20, 1000, y + 20), 0, 180, fill=255, width=9)
    tint(image, (36, 66, 138), ImageChops.multiply(mask, scaled(paint, 0.85)))
    tint(image, (60, 40, 50), ImageChops.multiply(mask, scaled(spot(size, (1000, 860), 300, 0.9), 0.7)))
    mouth = ellipse(size, (702, 312, 898, 350))
    tint(image, (70, 74, 92), mouth)
    shine = ellipse(size, (668, 560, 700, 760))
    tint(image, (255, 255, 255), scaled(soft(shine, 9), 0.8))


def pear(image: Image.Image, x: float, y: float, scale: float, colours: tuple[Colour, Colour, Colour]) -> None:
    """One pear that stands upright."""
    places = [
        (0, -230),
        (52, -180),
        (70, -80),
        (140, 40),
        (120, 150),
        (0, 190),
        (-120, 150),
        (-140, 40),
        (-70, -80),
        (-52, -180),
    ]
    mask = shape(image.size, curve([(x + dx * scale, y + dy * scale) for dx, dy in places]))
    body(image, mask, *colours, (x - 50 * scale, y + 10 * scale), 190 * scale)
    random, draw = Random(int(x)), ImageDraw.Draw(image)
    for _ in range(70):
        angle, reach = random.random() * math.tau, random.random() ** 0.5 * 110 * scale
        px, py = x + reach * math.cos(angle), y + 50 * scale + reach * math.sin(angle)
        draw.ellipse((px, py, px + 3, py + 3), fill=mix(colours[0], (60, 40, 20), 0.4))
    stroke(
        draw,
        [(x, y - 222 * scale), (x + 10, y - 260 * scale), (x + 34 * scale, y - 300 * scale)],
        14 * scale,
        10 * scale,
        (74, 48, 26),
    )
    tint(
        image,
        (255, 255, 255),
        scaled(soft(ellipse(image.size, (x - 78 * scale, y - 20, x - 50 * scale, y + 50)), 8), 0.7),
    )


def round_fruit(image: Image.Image, at: Point, radius: float, colours: tuple[Colour, Colour, Colour]) -> None:
    """An orange or a plum."""
    x, y = at
    mask = ellipse(image.size, (x - radius, y - radius, x + radius, y + radius))
    body(image, mask, *colours, (x - radius * 0.35, y - radius * 0.35), radius * 1.1)
    pores = noise(image.size, 3, 6, 2).point([max(0, value - 150) * 2 for value in range(256)])
    tint(image, colours[0], ImageChops.multiply(mask, scaled(pores, 0.3)))
    shine = ellipse(image.size, (x - radius * 0.5, y - radius * 0.6, x - radius * 0.2, y - radius * 0.36))
    tint(image, (255, 255, 255), scaled(soft(shine, 9), 0.75))


def blossom(draw: ImageDraw.ImageDraw, x: float, y: float, reach: float, petal: Colour, heart: Colour) -> None:
    """Five round petals and a heart."""
    for index in range(5):
        angle = index * math.tau / 5 + x
        px, py = x + reach * 0.55 * math.cos(angle), y + reach * 0.55 * math.sin(angle)
        draw.ellipse(
            (px - reach * 0.46, py - reach * 0.46, px + reach * 0.46, py + reach * 0.46),
            fill=mix(petal, heart, 0.05 * index),
        )
    draw.ellipse((x - reach * 0.2, y - reach * 0.2, x + reach * 0.2, y + reach * 0.2), fill=heart)


def plum_blossom() -> Image.Image:
    """A branch of plum blossom before a full moon."""
    size, random = (1400, 1400), Random(28)
    image = gradient(size, [(0, (22, 58, 76)), (1, (70, 120, 124))])
    glow(image, (760, 620), 760, (190, 200, 170), 0.5)
    body(
        image, ellipse(size, (390, 250, 1130, 990)), (236, 222, 186), (246, 236, 208), (255, 250, 232), (680, 520), 500
    )
    craters = noise(size, 33, 220, 4).point([max(0, value - 140) for value in range(256)])
    tint(image, (208, 190, 150), ImageChops.multiply(ellipse(size, (390, 250, 1130, 990)), craters))
    draw, bark = ImageDraw.Draw(image), (46, 34, 36)
    branches: list[tuple[list[Point], float, float]] = [
        ([(-20, 1290), (180, 1160), (330, 1120), (470, 960), (690, 880), (860, 700), (1060, 640), (1240, 470)], 84, 8),
        ([(470, 960), (520, 800), (480, 640), (560, 480), (540, 360)], 34, 5),
        ([(690, 880), (900, 900), (1080, 850), (1260, 880)], 28, 5),
        ([(860, 700), (850, 560), (930, 430), (910, 300)], 22, 5),
        ([(330, 1120), (280, 960), (180, 860), (150, 720)], 30, 5),
        ([(1060, 640), (1180, 680), (1300, 650)], 14, 4),
    ]
    for line, start, end in branches:
        stroke(draw, line, start, end, bark)
        stroke(
            draw,
            [(x - start * 0.12, y - start * 0.2) for x, y in line],
            start * 0.24,
            2,
            mix(bark, (150, 120, 110), 0.45),
        )
    for line, _, _ in branches:
        for (ax, ay), (bx, by) in pairwise(line[1:]):
            for _ in range(2):
                t = random.random()
                x, y = ax + (bx - ax) * t + random.gauss(0, 22), ay + (by - ay) * t + random.gauss(0, 22)
                petal = mix((236, 96, 122), (255, 214, 220), random.random())
                reach = 26 + random.random() * 30
                blossom(draw, x, y, reach, petal, (250, 214, 110))
            draw.ellipse((bx - 13, by - 28, bx + 13, by - 2), fill=(206, 62, 92))
    for _ in range(26):
        x, y, reach = random.random() * 1400, random.random() * 1400, 7 + random.random() * 7
        draw.ellipse((x - reach, y - reach * 0.6, x + reach, y + reach * 0.6), fill=(244, 180, 192))
    grain(image, 2, 0.1, 3)
    return finish(image, (700, 700))
