"""A vision model made of OpenCV: it looks at the pictures of a judge's question and scores what it sees. Asked to make
one ball another colour it finds that ball in the source, and looks what became of it and of all around it."""

from __future__ import annotations

import io
import json
import re
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.bench.scenes import Picture
from tests.fakes.scripts import Received, Script
from tests.fakes.vision import Looked, chat, criteria_of, read_request

HUES: Final = {"red": 0, "yellow": 28, "green": 60, "cyan": 92, "blue": 118, "magenta": 150}
"""Hues of OpenCV, 0..180."""
ORDER: Final = "make the {was} ball {wanted}, keep the rest"
_ORDER = re.compile(r"make the (\w+) ball (\w+)")
Mask = NDArray[np.bool_]


class Eyes:
    """Answers as a judge does; thread-safe, for it remembers nothing but how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def answer(self, request: Received) -> Script:
        """The answer to one request."""
        self.asked += 1
        return chat(json.dumps(self.think(read_request(request))))

    def think(self, looked: Looked) -> dict[str, Any]:
        """Scores for each criterion, and why."""
        source = next(one for one in looked.pictures if "SOURCE" in one.label)
        result = next(one for one in looked.pictures if one.is_result)
        marks, reason = judged(pixels(source.data), pixels(result.data), looked.prompt)
        return {"scores": {name: marks.get(name, 10.0) for name in criteria_of(looked)}, "reason": reason}


def pixels(data: bytes) -> Picture:
    """Rows, columns, red-green-blue."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.uint8)


def judged(source: Picture, result: Picture, prompt: str) -> tuple[dict[str, float], str]:
    """What it makes of a pair: the criteria of the rubric ``strict``, 0..10, and its reason."""
    order = _ORDER.search(prompt)
    ball = ball_in(source, order[1]) if order is not None else None
    if order is None or ball is None:
        return dict.fromkeys(("success", "overediting", "naturalness", "artifacts"), 5.0), "no such ball is to be seen"
    if result.shape != source.shape:
        result = np.asarray(cv2.resize(result, source.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
    inner = cv2.erode(ball.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    share = float(has_hue(result, order[2])[inner].mean())
    outside = cv2.dilate(ball.astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
    changed, level = change(source, result, outside)
    marks = {"success": mark(share, 0.3, 0.9), "overediting": min(mark(-changed, -0.006, -0.001), mark(-level, -5, -2))}
    return marks, f"{share:.0%} of the ball is {order[2]}, {changed:.1%} outside it changed, by {level:.1f} on average"


def mark(value: float, none: float, full: float) -> float:
    """0 at ``none``, 10 at ``full``, in between in proportion."""
    return round(10 * min(max((value - none) / (full - none), 0.0), 1.0), 1)


def has_hue(picture: Picture, name: str) -> Mask:
    """Where a picture has this colour, strongly."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int16)
    off = np.abs(hsv[..., 0] - HUES[name])
    return np.asarray((np.minimum(off, 180 - off) <= 9) & (hsv[..., 1] >= 120) & (hsv[..., 2] >= 60), np.bool_)


def ball_in(picture: Picture, name: str) -> Mask | None:
    """Where the largest round thing of this colour is, cut loose from what is thinner than a ball."""
    size = max(5, round(0.09 * min(picture.shape[:2])))
    thinner = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = cv2.morphologyEx(has_hue(picture, name).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, thinner)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    round_ones = [
        (int(area), number)
        for number, (_, _, wide, tall, area) in enumerate(stats[1:count].tolist(), 1)
        if area > 0.004 * mask.size and 0.75 < wide / tall < 1.34 and area > 0.8 * np.pi / 4 * wide * tall
    ]
    return np.asarray(labels == max(round_ones)[1], np.bool_) if round_ones else None


def change(source: Picture, result: Picture, where: Mask) -> tuple[float, float]:
    """Of the pixels there the share that changed plainly, and the mean change of what is no grain, of 255."""
    smooth = [cv2.GaussianBlur(one.astype(np.float32), (0, 0), 4) for one in (source, result)]
    far = np.abs(smooth[0] - smooth[1]).max(axis=2)[where]
    return float((far > 18).mean()), float(far.mean())
