"""The sample pictures: few bytes, many kinds, and drawn by the script that is kept with them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

ASSETS = Path(__file__).parents[2] / "assets"
SAMPLES = sorted((ASSETS / "samples").iterdir())


def test_samples_are_small_and_decode() -> None:
    """Every file of the folder is a whole picture, and all of them together stay below 600 kB."""
    assert 8 <= len(SAMPLES) <= 12
    assert sum(path.stat().st_size for path in SAMPLES) < 600_000
    for path in SAMPLES:
        with Image.open(path) as image:
            image.load()
            assert path.stem == f"{SAMPLES.index(path) + 1:03d}_start"


def test_samples_cover_the_kinds() -> None:
    """JPEG, PNG and WebP, wide and tall, transparent, with a palette, and turned by EXIF are all there."""
    formats, modes, shapes, orientations = set(), set(), set(), set()
    for path in SAMPLES:
        with Image.open(path) as image:
            formats.add(image.format)
            modes.add(image.mode)
            shapes.add(image.width / image.height)
            orientations.add(image.getexif().get(0x0112, 1))
    assert formats == {"JPEG", "PNG", "WEBP"}
    assert {"RGB", "RGBA", "P"} <= modes
    assert max(shapes) >= 2.5
    assert min(shapes) <= 0.4
    assert 6 in orientations


def test_script_draws_the_kept_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Drawing the lossless palette sample anew gives the pixels of the file that is kept."""
    monkeypatch.syspath_prepend(str(ASSETS / "drawing"))
    draw_samples = importlib.import_module("draw_samples")
    name, scene, write = next(entry for entry in draw_samples.SAMPLES if entry[0] == "010_start.png")
    write(scene(), tmp_path / name)
    for module in ("draw_samples", "figures", "landscapes", "outings", "still_lifes", "brushes"):
        sys.modules.pop(module, None)
    with Image.open(tmp_path / name) as drawn, Image.open(ASSETS / "samples" / name) as kept:
        assert ImageChops.difference(drawn.convert("RGB"), kept.convert("RGB")).getbbox() is None


def test_icon_is_there_in_every_shape() -> None:
    """The icon exists as SVG, PNG, ICO with the small sizes, and ICNS."""
    assert "<svg" in (ASSETS / "icon.svg").read_text(encoding="utf-8")
    with (
        Image.open(ASSETS / "icon.ico") as ico,
        Image.open(ASSETS / "icon.png") as png,
        Image.open(ASSETS / "icon.icns") as icns,
    ):
        assert {(16, 16), (32, 32), (48, 48), (256, 256)} <= set(ico.info["sizes"])
        assert (png.size, png.mode) == ((512, 512), "RGBA")
        assert icns.size[0] >= 512
