"""Judges mutated pictures in a process of its own, under limits; one JSON line: python picture_child.py N [FOLDER]

Read by test_pictures.py. The files of the folder are judged as they are, and mutated with our own. Counts are of
files; ``wrong`` names seeds or files that show a fault.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from engine.errors import PictureRejected
from engine.images.picture import MIME_TYPES, check_picture, opened
from tests.made_pictures import FORMATS, animated, drawn, encoded, png_bomb, png_chunk

MEMORY = 512 * 1024 * 1024
SECONDS = 2.0
LIMIT = 20 * 1024 * 1024
MUTABLE = 200_000
"""Longest file that is mutated: in a larger one a mutation rarely hits what matters."""


def sources() -> list[bytes]:
    """Whole pictures of every format and many modes, small so that a mutation hits something."""
    made = [encoded(kind) for kind in FORMATS]
    made += [encoded("png", drawn(mode=mode)) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    made += [encoded("tiff", drawn(mode=mode)) for mode in ("1", "L", "RGBA", "CMYK", "F", "I")]
    made += [encoded("tiff", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    made += [encoded("jpeg", drawn(mode=mode)) for mode in ("L", "CMYK")]
    made += [
        encoded("jpeg", progressive=True),
        encoded("jpeg", drawn(200, 150), subsampling=2, restart_marker_blocks=3),
    ]
    made += [encoded("webp", lossless=True), encoded("webp", drawn(mode="RGBA")), encoded("bmp", drawn(mode="P"))]
    made += [animated(kind) for kind in ("gif", "webp", "png", "tiff", "avif")]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words " * 20
    made += [encoded(kind, exif=exif.tobytes()) for kind in ("jpeg", "png", "webp", "avif")]
    return made


def bombs() -> list[bytes]:
    """Small files that would be huge: by their header, by what they unpack to, by the number of frames."""
    header = struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x01\x00\x00"
    text = png_chunk(b"zTXt", b"a\0\0" + b"x\x9c" + b"\xed\xc1\x01\x0d\0\0\0\xc2\xa0" * 2000)
    return [
        png_bomb(30_000, 30_000),
        png_bomb(2**31 - 1, 1),
        png_bomb(9_000, 9_000),
        b"GIF89a" + header + frame * 50 + b"\x3b",
        b"BM" + struct.pack("<IHHIIiiHH", 60, 0, 0, 54, 40, 60_000, 60_000, 1, 24) + bytes(30),
        b"BM" + struct.pack("<IHHIIiiHH", 60, 0, 0, 54, 40, 60_000, -60_000, 1, 1) + bytes(30),
        b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff" * 6,
        png_bomb(60, 40)[:33] + text * 20 + png_bomb(60, 40)[33:],
    ]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to some faults, of the kinds that disks, lines and people make."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 5, 30))):
        at, kind = chance.randrange(len(made) or 1), chance.randrange(9)
        if kind == 0:
            made = made[: chance.randrange(len(made) + 1)]
        elif kind == 1 and made:
            made[at] ^= 1 << chance.randrange(8)
        elif kind == 2 and made:
            made[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 3:
            made[at : at + 4] = struct.pack(
                chance.choice("<>") + "I", chance.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1))
            )
        elif kind == 4:
            made[at:at] = made[at : at + chance.randrange(1, 200)] * chance.choice((1, 2, 50))
        elif kind == 5:
            del made[at : at + chance.randrange(1, 200)]
        elif kind == 6:
            made[at : at + 64] = bytes(min(64, len(made) - at))
        elif kind == 7:
            made[at : at + 16] = chance.randbytes(16)
        else:
            made[: min(at, 40)] = made[at : at + min(at, 40)]
        made = made[: 4 * 1024 * 1024]
    return bytes(made)


def judge(data: bytes) -> tuple[bool, float]:
    """Whether it is taken, after how many seconds; AssertionError for one that does not decode completely."""
    begun = time.perf_counter()
    try:
        info = check_picture(data, LIMIT)
    except PictureRejected:
        return False, time.perf_counter() - begun
    took = time.perf_counter() - begun
    assert info.mime in MIME_TYPES
    with opened(data, info.mime) as (image, _):  # whole, at full size, without the shortcut of the check
        image.load()
        assert image.size[0] * image.size[1] == info.width * info.height, (image.size, info)
    return True, took


def memory(name: str) -> int:
    """Bytes of this process: now (``VmRSS``) or at most (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def main(count: int, folder: str) -> None:
    """Judge the files of the folder, ``count`` mutated pictures and all the bombs."""
    found = [path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()] if folder else []
    made, huge = sources() + [data for data in found if len(data) <= MUTABLE], bombs()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of what was made so far does not count
    baseline = memory("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (baseline + 4 * MEMORY, baseline + 4 * MEMORY))
    warnings.simplefilter("ignore")  # of Pillow, about what is broken
    Image.MAX_IMAGE_PIXELS = None  # the second look is not what is tried
    report: dict[str, Any] = {
        "files": 0,
        "unchanged": len(found),
        "taken": 0,
        "refused": 0,
        "slowest": 0.0,
        "wrong": [],
    }
    for number, data in enumerate((*found, *huge, *(None for _ in range(count)))):
        chance = random.Random(number)
        try:
            taken, took = judge(mutate(chance.choice(made), chance) if data is None else data)
        except Exception as error:  # noqa: BLE001 - every type that gets out is what is looked for
            report["wrong"].append([number, repr(error)[:200]])
            taken, took = False, 0.0
        report["slowest"] = max(report["slowest"], took)
        if took > SECONDS:
            report["wrong"].append([number, f"{took:.1f} s"])
        report["files"] += 1
        report["taken" if taken else "refused"] += 1
    report["megabytes"] = round((memory("VmHWM") - baseline) / 1e6)
    report["slowest"] = round(report["slowest"], 2)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
