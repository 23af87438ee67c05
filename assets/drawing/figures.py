"""Sample figures: a carp without background, a portrait, a cat. Each returns the finished picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from brushes import (
    Colour,
    Point,
    curve,
    ellipse,
    fade,
    finish,
    gradient,
    grain,
    scaled,
    shape,
    soft,
    stroke,
    tint,
)
from PIL import Image, ImageChops, ImageDraw
from still_lifes import blossom


def carp() -> Image.Image:
    """A carp seen from above, with a transparent background and translucent fins."""
    size = (1200, 1200)
    spine = [
        (930.0, 190.0),
        (800.0, 260.0),
        (650.0, 380.0),
        (560.0, 530.0),
        (560.0, 690.0),
        (610.0, 830.0),
        (600.0, 950.0),
    ]
    widths = [40, 150, 205, 190, 140, 84, 40]
    left, right = [], []
    for index, (x, y) in enumerate(spine):
        before, after = spine[max(0, index - 1)], spine[min(len(spine) - 1, index + 1)]
        length = math.dist(before, after)
        nx, ny = (after[1] - before[1]) / length, -(after[0] - before[0]) / length
        left.append((x + nx * widths[index] / 2, y + ny * widths[index] / 2))
        right.append((x - nx * widths[index] / 2, y - ny * widths[index] / 2))
    outline = shape(size, curve([*left, *reversed(right)], 18))
    fins = [
        [(700, 300), (690, 180), (560, 110), (520, 170), (600, 250), (640, 350)],
        [(790, 400), (900, 450), (960, 570), (890, 610), (790, 540), (690, 470)],
        [(520, 640), (430, 660), (380, 750), (440, 770), (530, 730)],
        [(640, 690), (730, 710), (770, 800), (710, 810), (630, 760)],
        [
            (600, 900),
            (500, 980),
            (400, 1120),
            (540, 1090),
            (600, 1010),
            (690, 1130),
            (780, 1150),
            (730, 1010),
            (640, 920),
        ],
    ]
    veil = Image.new("L", size)
    colour = Image.new("RGB", size, (252, 236, 222))
    for fin in fins:
        mask = shape(size, curve(fin, 12))
        veil = ImageChops.lighter(veil, scaled(mask, 0.62))
        root = fin[0]
        rays, draw = Image.new("L", size), None
        draw = ImageDraw.Draw(rays)
        for point in curve(fin, 5):
            draw.line((*root, *point), fill=150, width=4)
        tint(colour, (226, 120, 70), ImageChops.multiply(mask, soft(rays, 2)))
    tint(colour, (252, 246, 238), outline)
    patches = [
        curve([(900, 190), (830, 190), (760, 250), (790, 330), (860, 290)]),
        curve([(690, 300), (600, 400), (610, 500), (700, 470), (740, 390)]),
        curve([(500, 560), (480, 640), (560, 740), (630, 690), (600, 600)]),
        curve([(570, 800), (610, 880), (660, 870), (640, 800)]),
    ]
    spots = soft(shape(size, *patches), 4)
    tint(colour, (232, 84, 34), ImageChops.multiply(outline, spots))
    ink = shape(
        size,
        curve([(640, 420), (610, 450), (650, 490), (690, 450)]),
        curve([(590, 640), (570, 690), (610, 700)]),
        curve([(760, 300), (740, 330), (770, 350)]),
    )
    tint(colour, (38, 34, 42), ImageChops.multiply(outline, soft(ink, 4)))
    scales = Image.new("L", size)
    draw = ImageDraw.Draw(scales)
    for row in range(46):
        for column in range(-6, 7):
            share = row / 45 * (len(spine) - 2) + 0.9
            index = min(len(spine) - 2, int(share))
            t = share - index
            x = spine[index][0] * (1 - t) + spine[index + 1][0] * t
            y = spine[index][1] * (1 - t) + spine[index + 1][1] * t
            dx, dy = spine[index + 1][0] - spine[index][0], spine[index + 1][1] - spine[index][1]
            norm = math.hypot(dx, dy)
            shift = (column + (row % 2) / 2) * 26
            cx, cy, turn = x + dy / norm * shift, y - dx / norm * shift, math.degrees(math.atan2(dy, dx))
            draw.arc((cx - 15, cy - 15, cx + 15, cy + 15), turn - 70, turn + 70, fill=90, width=3)
    tint(colour, (150, 70, 50), ImageChops.multiply(ImageChops.multiply(outline, scales), fade(size, 250, 320, 0, 255)))
    shade = ImageChops.subtract(outline, soft(outline, 34))
    tint(colour, (120, 50, 40), scaled(shade, 0.9))
    draw = ImageDraw.Draw(colour)
    dorsal = curve([(700, 330), (610, 420), (560, 560), (570, 640), (590, 560), (650, 440)], 10)
    draw.polygon(dorsal, fill=(250, 220, 200))
    for x, y in ((868, 186), (906, 250)):
        draw.ellipse((x - 11, y - 11, x + 11, y + 11), fill=(30, 26, 32))
        draw.ellipse((x - 7, y - 8, x - 1, y - 2), fill=(255, 255, 255))
    whiskers = Image.new("L", size)
    for line in ([(938, 176), (975, 150), (990, 172)], [(948, 196), (985, 205), (1000, 232)]):
        stroke(ImageDraw.Draw(whiskers), line, 8, 3, 255)
    tint(colour, (214, 120, 80), whiskers)
    colour.putalpha(ImageChops.lighter(ImageChops.lighter(veil, outline), whiskers))
    return finish(colour, (480, 480))


def portrait() -> Image.Image:
    """A portrait in flat planes of colour."""
    size = (1200, 1500)
    image = gradient(size, [(0, (246, 196, 150)), (1, (226, 122, 104))])
    ImageDraw.Draw(image).ellipse((190, 130, 1010, 950), fill=(250, 222, 176))
    flat(
        image,
        [
            (300, 640),
            (330, 330),
            (600, 200),
            (860, 320),
            (900, 640),
            (960, 1080),
            (820, 1230),
            (380, 1230),
            (240, 1080),
        ],
        (42, 34, 66),
    )
    flat(
        image,
        [(100, 1560), (180, 1310), (440, 1190), (600, 1220), (760, 1190), (1020, 1310), (1100, 1560)],
        (36, 108, 118),
    )
    flat(image, [(600, 1230), (760, 1180), (1020, 1310), (1110, 1570), (620, 1570)], (26, 84, 98))
    skin, shade, rose = (240, 190, 158), (206, 138, 116), (228, 128, 116)
    draw = ImageDraw.Draw(image)
    draw.polygon([(500, 900), (700, 900), (716, 1210), (600, 1330), (484, 1210)], fill=shade)
    draw.polygon([(484, 1200), (600, 1330), (560, 1400), (430, 1220)], fill=(250, 240, 224))
    draw.polygon([(716, 1200), (600, 1330), (640, 1400), (770, 1220)], fill=(232, 214, 196))
    face = [(600, 350), (790, 440), (815, 640), (760, 860), (600, 1000), (440, 860), (385, 640), (410, 440)]
    flat(image, face, skin)
    side = ImageChops.multiply(
        shape(size, curve(face)),
        shape(
            size,
            [
                (604, 300),
                (900, 300),
                (900, 1100),
                (604, 1100),
                (604, 900),
                (640, 850),
                (604, 790),
                (650, 730),
                (604, 560),
            ],
        ),
    )
    tint(image, shade, side)
    for x in (470, 735):
        tint(image, rose, scaled(soft(ellipse(size, (x - 60, 730, x + 60, 820)), 22), 0.6))
    draw = ImageDraw.Draw(image)
    for x, turn in ((490, 1), (712, -1)):
        stroke(draw, [(x - 62 * turn, 585), (x, 556), (x + 62 * turn, 576)], 20, 8, (42, 34, 66))
        draw.chord((x - 58, 610, x + 58, 690), 10, 170, fill=(252, 246, 236))
        draw.pieslice((x - 27, 622, x + 27, 676), 0, 180, fill=(38, 86, 96))
        stroke(draw, [(x - 64, 648), (x - 30, 650), (x, 652), (x + 30, 650), (x + 64, 646)], 9, 9, (42, 34, 66))
    draw.polygon([(604, 600), (650, 745), (604, 772)], fill=(186, 112, 98))
    draw.polygon(curve([(520, 856), (574, 836), (602, 848), (630, 836), (684, 856), (602, 872)], 8), fill=(188, 58, 66))
    draw.polygon(curve([(530, 862), (602, 870), (674, 862), (602, 908)], 8), fill=(212, 84, 86))
    flat(image, [(600, 250), (400, 330), (340, 640), (372, 760), (420, 560), (600, 400), (700, 380)], (42, 34, 66))
    flat(image, [(560, 300), (800, 350), (868, 640), (830, 780), (790, 560), (700, 430), (600, 392)], (58, 46, 86))
    draw = ImageDraw.Draw(image)
    stroke(draw, [(450, 350), (400, 450), (376, 600)], 6, 12, (98, 80, 130))
    stroke(draw, [(690, 330), (790, 420), (830, 560)], 6, 12, (104, 88, 138))
    for x in (372, 832):
        draw.ellipse((x - 22, 840, x + 22, 884), fill=(240, 178, 60))
        draw.ellipse((x - 14, 846, x + 2, 862), fill=(255, 232, 170))
    for x, y, reach in ((300, 380, 70), (372, 290, 52), (250, 480, 46)):
        blossom(draw, x, y, reach, (250, 244, 236), (240, 178, 60))
    grain(image, 12, 0.13, 3)
    return finish(image, (640, 800))


def cat() -> Image.Image:
    """A cat on a window sill, in few flat colours."""
    size = (1280, 1280)
    image = Image.new("RGB", size, (54, 96, 122))
    draw, fur, dark, cream = ImageDraw.Draw(image), (236, 150, 74), (196, 104, 46), (252, 236, 212)
    draw.rectangle((110, 90, 1170, 1020), fill=(250, 240, 220))
    draw.rectangle((150, 130, 1130, 1020), fill=(150, 208, 222))
    draw.ellipse((840, 210, 1010, 380), fill=(255, 226, 140))
    for base, colour in ((840, (122, 184, 150)), (930, (88, 154, 122))):
        draw.polygon(
            [(150, 1020), *[(x, base - 60 * math.sin(x / 190 + base)) for x in range(150, 1131, 10)], (1130, 1020)],
            fill=colour,
        )
    draw.rectangle((622, 130, 658, 1020), fill=(250, 240, 220))
    draw.rectangle((60, 1000, 1220, 1080), fill=(250, 240, 220))
    draw.rectangle((60, 1070, 1220, 1100), fill=(206, 190, 166))
    stroke(draw, [(800, 960), (950, 970), (1010, 900), (1000, 800), (1060, 740)], 74, 60, fur)
    for place in ((958, 968), (1010, 900), (1000, 810)):
        draw.ellipse((place[0] - 37, place[1] - 12, place[0] + 37, place[1] + 12), fill=dark)
    flat(
        image, [(420, 1000), (400, 800), (500, 600), (640, 560), (780, 600), (880, 800), (860, 1000), (640, 1020)], fur
    )
    flat(image, [(540, 1004), (530, 860), (640, 740), (750, 860), (740, 1004)], cream)
    draw = ImageDraw.Draw(image)
    for x in (540, 740):
        draw.rounded_rectangle((x - 62, 900, x + 62, 1024), 58, fill=cream if x < 600 else fur)
        for toe in (-20, 20):
            draw.line((x + toe, 985, x + toe, 1018), fill=dark, width=6)
    for side in (-1, 1):
        draw.polygon([(640 + side * 70, 330), (640 + side * 205, 190), (640 + side * 220, 440)], fill=fur)
        draw.polygon([(640 + side * 110, 330), (640 + side * 186, 246), (640 + side * 192, 400)], fill=(244, 180, 160))
    flat(image, [(640, 300), (800, 340), (872, 480), (800, 620), (640, 668), (480, 620), (408, 480), (480, 340)], fur)
    flat(image, [(640, 520), (720, 560), (730, 630), (640, 660), (550, 630), (560, 560)], cream)
    draw = ImageDraw.Draw(image)
    for dx in (-64, 0, 64):
        draw.polygon(
            [(640 + dx - 17, 312 + abs(dx) * 0.14), (640 + dx + 17, 312 + abs(dx) * 0.14), (640 + dx * 0.8, 412)],
            fill=dark,
        )
    for side in (-1, 1):
        x = 640 + side * 108
        draw.ellipse((x - 50, 430, x + 50, 534), fill=(250, 246, 220))
        draw.ellipse((x - 40, 436, x + 40, 530), fill=(120, 176, 92))
        draw.ellipse((x - 17, 440, x + 17, 526), fill=(28, 30, 36))
        draw.ellipse((x - 20, 452, x - 2, 472), fill=(255, 255, 255))
        for y, lift in ((590, -22), (604, 4), (618, 28)):
            draw.line((640 + side * 96, y, 640 + side * 290, y + lift), fill=(250, 244, 232), width=5)
        for y in (500, 560):
            draw.polygon([(640 + side * 222, y - 16), (640 + side * 222, y + 16), (640 + side * 158, y)], fill=dark)
        draw.arc((640 + side * 34 - 36, 566, 640 + side * 34 + 36, 622), 10, 170, fill=(110, 60, 44), width=6)
    draw.polygon([(612, 556), (668, 556), (640, 590)], fill=(226, 110, 106))
    draw.rounded_rectangle((160, 820, 350, 1000), 18, fill=(206, 94, 70))
    draw.rectangle((146, 806, 364, 850), fill=(224, 116, 86))
    for x, y, reach in ((200, 690, 70), (310, 670, 76), (255, 600, 84)):
        stroke(draw, [(255, 806), ((255 + x) / 2 + 8, (806 + y) / 2), (x, y)], 12, 8, (70, 124, 84))
        blossom(draw, x, y, reach, (250, 214, 224), (246, 190, 76))
    return finish(image, (640, 640))


def flat(image: Image.Image, points: Sequence[Point], colour: Colour) -> None:
    """One plane of colour with a smooth outline."""
    ImageDraw.Draw(image).polygon(curve(points, 16), fill=colour)
