"""The painter of the demo endpoint: picks an edit by words of the prompt and makes it with Pillow, in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from enum import StrEnum
from random import Random

import msgspec
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

MAX_EDGE = 1600
"""Longest edge of a result, pixels; larger sources are made smaller, as real endpoints do."""
MAX_PIXELS = 40_000_000
_PREVIEW_EDGE = 256
_WARMTH = (0, 14, -14, 26, -26, 38, -38, 50, -50, 62)
"""How much warmer or colder each further result of the same picture is: they shall differ."""
_GLYPHS = {"D": "110101101101110", "E": "111100110100111", "M": "101111111101101", "O": "111101101101111"}
"""Three by five dots, row after row: the mark needs no font."""


class Style(StrEnum):
    """What the painter can do."""

    SKETCH = "sketch"
    INK = "ink"
    NIGHT = "night"
    WATERCOLOR = "watercolor"
    OIL = "oil"
    CARTOON = "cartoon"
    PIXEL = "pixel"
    SEPIA = "sepia"
    GRAY = "gray"
    MIRROR = "mirror"
    NEGATIVE = "negative"
    BLUR = "blur"
    SUNSET = "sunset"
    SNOW = "snow"
    FILM = "film"


_WORDS: tuple[tuple[Style, tuple[str, ...]], ...] = (
    (Style.SKETCH, ("素描", "铅笔", "线稿", "sketch", "pencil", "line art", "drawing")),
    (Style.INK, ("水墨", "国画", "ink wash", "ink painting", "sumi")),
    (Style.WATERCOLOR, ("水彩", "watercolor", "watercolour", "aquarelle")),
    (Style.OIL, ("油画", "oil paint", "impressionis")),
    (Style.CARTOON, ("卡通", "动漫", "漫画", "cartoon", "anime", "comic")),
    (Style.PIXEL, ("像素", "pixel", "8-bit")),
    (Style.SEPIA, ("复古", "怀旧", "老照片", "sepia", "vintage", "retro")),
    (Style.GRAY, ("黑白", "灰度", "gray", "grey", "black and white", "black-and-white", "monochrome")),
    (Style.MIRROR, ("镜像", "翻转", "mirror", "flip")),
    (Style.NEGATIVE, ("反色", "负片", "negative", "invert")),
    (Style.BLUR, ("模糊", "虚化", "blur", "dreamy")),
    (Style.SUNSET, ("日落", "黄昏", "夕阳", "sunset", "dusk", "golden hour")),
    (Style.SNOW, ("雪", "冬", "snow", "winter")),
    (Style.NIGHT, ("夜", "night", "moonlight")),
)


class Painted(msgspec.Struct, frozen=True):
    """A finished picture: encoded bytes, their type, and a small blurred JPEG as preview."""

    data: bytes
    mime: str
    extension: str
    preview: bytes


def style_of(prompt: str) -> Style:
    """The first style whose word stands in the prompt, Chinese or English; FILM if none does."""
    text = prompt.lower()
    for style, words in _WORDS:
        if any(word in text for word in words):
            return style
    return Style.FILM


def paint(source: bytes, prompt: str, variant: int = 0) -> Painted:
    """Edit one picture; PNG if it has transparency, else JPEG. ``variant``: 0..9, further results of the same call.

    Raises ValueError or OSError (Pillow's) for bytes that are no picture, or one of more than MAX_PIXELS.
    """
    with Image.open(io.BytesIO(source)) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        opened.draft("RGB", (MAX_EDGE, MAX_EDGE))
        upright = ImageOps.exif_transpose(opened).convert("RGBA" if opened.has_transparency_data else "RGB")
    upright.thumbnail((MAX_EDGE, MAX_EDGE))
    alpha = upright.getchannel("A") if upright.mode == "RGBA" else None
    style = style_of(prompt)
    image = _toned(_EDITS[style](upright.convert("RGB")), _WARMTH[variant % len(_WARMTH)])
    if alpha is not None and style is Style.MIRROR:
        alpha = ImageOps.mirror(alpha)
    return _encoded(image, alpha)


def _encoded(image: Image.Image, alpha: Image.Image | None) -> Painted:
    out, small = io.BytesIO(), io.BytesIO()
    preview = image.copy()
    preview.thumbnail((_PREVIEW_EDGE, _PREVIEW_EDGE))
    preview.filter(ImageFilter.GaussianBlur(2)).save(small, "JPEG", quality=70)
    if alpha is None:
        _mark(image)
        image.save(out, "JPEG", quality=90)
        return Painted(out.getvalue(), "image/jpeg", "jpg", small.getvalue())
    image.putalpha(alpha)
    _mark(image)
    image.save(out, "PNG", compress_level=4)
    return Painted(out.getvalue(), "image/png", "png", small.getvalue())


def _mark(image: Image.Image) -> None:
    """Write DEMO into the lower right corner, small and half transparent, readable on any ground."""
    dot = max(1, min(image.size) // 180)
    width, height = dot * (4 * 4 - 1), dot * 5
    if image.width < width + 6 * dot or image.height < height + 6 * dot:
        return
    left, top = image.width - width - 3 * dot, image.height - height - 3 * dot
    plate, ink = Image.new("L", image.size), Image.new("L", image.size)
    frame = (left - 2 * dot, top - 2 * dot, left + width + 2 * dot - 1, top + height + 2 * dot - 1)
    ImageDraw.Draw(plate).rounded_rectangle(frame, 2 * dot, fill=110)
    draw = ImageDraw.Draw(ink)
    for place, letter in enumerate("DEMO"):
        for index, bit in enumerate(_GLYPHS[letter]):
            if bit == "1":
                x, y = left + dot * (4 * place + index % 3), top + dot * (index // 3)
                draw.rectangle((x, y, x + dot - 1, y + dot - 1), fill=230)
    solid = 255 if image.mode == "RGBA" else None
    image.paste((20, 22, 28) if solid is None else (20, 22, 28, solid), (0, 0), plate)
    image.paste((255, 255, 255) if solid is None else (255, 255, 255, solid), (0, 0), ink)


def _toned(image: Image.Image, warmth: int) -> Image.Image:
    if not warmth:
        return image
    red, green, blue = image.split()
    shift = warmth // 2
    red = red.point([min(255, max(0, value + shift)) for value in range(256)])
    blue = blue.point([min(255, max(0, value - shift)) for value in range(256)])
    return Image.merge("RGB", (red, green, blue))


def _paper(size: tuple[int, int], contrast: float, grain: int = 2) -> Image.Image:
    """Seeded grain around white, for multiplying; ``contrast`` 0..1."""
    tile = Image.frombytes("L", (256, 256), Random(7).randbytes(256 * 256))  # noqa: S311 - paper, not a secret
    tile = tile.resize((256 * grain, 256 * grain), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(0.7))
    sheet = Image.new("L", size)
    for x in range(0, size[0], tile.width):
        for y in range(0, size[1], tile.height):
            sheet.paste(tile, (x, y))
    return sheet.point([255 - round((255 - value) * contrast) for value in range(256)])


def _multiplied(image: Image.Image, grey: Image.Image) -> Image.Image:
    return ImageChops.multiply(image, Image.merge("RGB", [grey] * 3))


def _edges(image: Image.Image, width: float, strength: float) -> Image.Image:
    """Dark lines on white where brightness changes."""
    grey = ImageOps.grayscale(image)
    lines = ImageChops.add(grey, ImageChops.invert(grey.filter(ImageFilter.GaussianBlur(width))))
    return lines.point([max(0, min(255, round(255 - (255 - value) * strength))) for value in range(256)])


def _vignette(image: Image.Image, strength: float) -> Image.Image:
    disc = Image.radial_gradient("L").resize(image.size, Image.Resampling.BILINEAR)
    return _multiplied(image, disc.point([round(255 - max(0, value - 110) * strength) for value in range(256)]))


def _smoothed(image: Image.Image, size: int, colours: float) -> Image.Image:
    """Areas instead of details: made small, median, made large again."""
    small = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)
    small = small.filter(ImageFilter.MedianFilter(size)).filter(ImageFilter.MedianFilter(3))
    return ImageEnhance.Color(small.resize(image.size, Image.Resampling.BICUBIC)).enhance(colours)


def _sketch(image: Image.Image) -> Image.Image:
    lines = ImageChops.multiply(_edges(image, 7, 2.8), _edges(image, 1.6, 3))
    tone = ImageOps.autocontrast(ImageOps.grayscale(image)).point([178 + value * 77 // 255 for value in range(256)])
    drawn = ImageChops.multiply(ImageChops.multiply(lines, tone), _paper(image.size, 0.12, 1))
    return ImageOps.colorize(drawn, (38, 38, 46), (252, 248, 238))


def _ink(image: Image.Image) -> Image.Image:
    wash = ImageOps.autocontrast(ImageOps.grayscale(_smoothed(image, 7, 1)), 1)
    wash = wash.point([round(255 * (value / 255) ** 0.6) for value in range(256)])
    drawn = ImageChops.multiply(ImageChops.multiply(wash, _edges(image, 3, 1.8)), _paper(image.size, 0.16))
    return ImageOps.colorize(drawn, (22, 28, 30), (246, 238, 220), (128, 132, 126))


def _watercolor(image: Image.Image) -> Image.Image:
    washes = ImageEnhance.Brightness(_smoothed(image, 7, 1.5)).enhance(1.06)
    washes = Image.blend(washes, Image.new("RGB", image.size, (255, 252, 244)), 0.14)
    return _multiplied(_multiplied(washes, _edges(washes, 8, 2.2)), _paper(image.size, 0.11))


def _oil(image: Image.Image) -> Image.Image:
    small = image.resize((max(1, image.width // 3), max(1, image.height // 3)), Image.Resampling.BOX)
    dabs = small.filter(ImageFilter.MedianFilter(5)).resize(image.size, Image.Resampling.BICUBIC)
    relief = ImageOps.grayscale(dabs).filter(ImageFilter.EMBOSS)
    relief = relief.point([min(255, max(90, 190 + (value - 128) * 2)) for value in range(256)])
    return ImageEnhance.Color(ImageEnhance.Brightness(_multiplied(dabs, relief)).enhance(1.3)).enhance(1.4)


def _cartoon(image: Image.Image) -> Image.Image:
    flat = ImageOps.posterize(_smoothed(image, 5, 1.6), 3)
    flat = ImageEnhance.Brightness(flat.filter(ImageFilter.GaussianBlur(0.8))).enhance(1.18)
    return _multiplied(flat, _edges(image, 2.5, 5))


def _pixel(image: Image.Image) -> Image.Image:
    step = max(4, max(image.size) // 110)
    small = image.resize((max(1, image.width // step), max(1, image.height // step)), Image.Resampling.BOX)
    few = ImageEnhance.Color(small).enhance(1.3).quantize(24, dither=Image.Dither.NONE).convert("RGB")
    return few.resize(image.size, Image.Resampling.NEAREST)


def _sepia(image: Image.Image) -> Image.Image:
    grey = ImageOps.autocontrast(ImageOps.grayscale(image).filter(ImageFilter.GaussianBlur(0.6)), 1)
    old = ImageOps.colorize(
        ImageChops.multiply(grey, _paper(image.size, 0.16)), (44, 28, 18), (250, 232, 200), (154, 116, 78)
    )
    return _vignette(old, 0.7)


def _gray(image: Image.Image) -> Image.Image:
    return ImageOps.autocontrast(ImageOps.grayscale(image), 1).convert("RGB")


def _blur(image: Image.Image) -> Image.Image:
    soft = image.filter(ImageFilter.GaussianBlur(max(3, max(image.size) / 120)))
    return Image.blend(ImageChops.screen(image, soft), soft, 0.55)


def _sunset(image: Image.Image) -> Image.Image:
    sky = Image.linear_gradient("L").resize(image.size)
    light = ImageOps.colorize(sky, (255, 150, 96), (196, 92, 120), (255, 206, 140))
    return ImageEnhance.Color(Image.blend(image, ImageChops.overlay(image, light), 0.85)).enhance(1.15)


def _snow(image: Image.Image) -> Image.Image:
    cold = ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.45)).enhance(1.08)
    cold = Image.blend(cold, Image.new("RGB", image.size, (206, 224, 242)), 0.24)
    flakes, random = Image.new("L", image.size), Random(11)  # noqa: S311 - flakes, not a secret
    draw = ImageDraw.Draw(flakes)
    for _ in range(420):
        x, y = random.random() * image.width, random.random() * image.height
        reach = (0.6 + random.random() ** 3 * 4) * max(image.size) / 900
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=120 + int(random.random() * 135))
    cold.paste((255, 255, 255), (0, 0), flakes.filter(ImageFilter.GaussianBlur(1)))
    return cold


def _night(image: Image.Image) -> Image.Image:
    dark = (
        ImageEnhance.Color(image).enhance(0.55).point([round(200 * (value / 255) ** 1.5) for value in range(256)] * 3)
    )
    dark = ImageChops.multiply(dark, Image.new("RGB", image.size, (120, 150, 235)))
    lamps = ImageOps.grayscale(image).point([max(0, value - 190) * 3 for value in range(256)])
    lamps = ImageOps.colorize(lamps.filter(ImageFilter.GaussianBlur(max(image.size) / 160)), (0, 0, 0), (255, 214, 140))
    return _vignette(ImageChops.screen(dark, lamps.point([value * 2 // 5 for value in range(256)] * 3)), 0.8)


def _film(image: Image.Image) -> Image.Image:
    """A soft painted film look: teal shadows, warm lights, bloom."""
    base = Image.blend(image, _smoothed(image, 5, 1.25), 0.6)
    grade = ImageOps.colorize(ImageOps.grayscale(base), (22, 60, 78), (255, 238, 206), (168, 140, 128))
    graded = Image.blend(base, ImageChops.overlay(base, grade), 0.5)
    bloom = graded.filter(ImageFilter.GaussianBlur(max(image.size) / 60)).point(
        [value // 4 for value in range(256)] * 3
    )
    return _vignette(ImageChops.screen(graded, bloom), 0.35)


_EDITS: dict[Style, Callable[[Image.Image], Image.Image]] = {
    Style.SKETCH: _sketch,
    Style.INK: _ink,
    Style.NIGHT: _night,
    Style.WATERCOLOR: _watercolor,
    Style.OIL: _oil,
    Style.CARTOON: _cartoon,
    Style.PIXEL: _pixel,
    Style.SEPIA: _sepia,
    Style.GRAY: _gray,
    Style.MIRROR: ImageOps.mirror,
    Style.NEGATIVE: ImageOps.invert,
    Style.BLUR: _blur,
    Style.SUNSET: _sunset,
    Style.SNOW: _snow,
    Style.FILM: _film,
}
