"""A vision model made of Pillow: it decodes the pictures of a chat request, sees colour, size and order, and answers.

Its taste: the result should have the colour that the prompt names (``make it red``), keep the source's shape, and not
be flat. Sizes and labels of what it was shown are noted, so that a test knows what was really sent.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tests.fakes.scripts import Received, Script

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (128, 128, 128)}


@dataclass(frozen=True)
class Shown:
    """A picture as it came: the words before it, its size in pixels, its mean colour, its file."""

    label: str
    size: tuple[int, int]
    colour: tuple[int, int, int]
    data: bytes

    @property
    def is_result(self) -> bool:
        """Whether it is labelled as the result."""
        return "RESULT" in self.label


@dataclass(frozen=True)
class Looked:
    """One request as the model understood it."""

    prompt: str
    pictures: list[Shown]
    schema: Mapping[str, Any] | None
    key: str

    @property
    def wanted(self) -> str:
        """The colour that is asked for."""
        return next((name for name in COLOURS if name in self.prompt), "grey")


class FakeVision:
    """Answers like a judge; ``seen`` in order of arrival. ``answer_as``: bends an answer, for judges that misbehave."""

    def __init__(self) -> None:
        self.seen: list[Looked] = []
        self.refuses_schema = False
        self._lock = threading.Lock()

    def answer(self, request: Received) -> Script:
        """The answer to one request."""
        looked = read_request(request)
        with self._lock:
            self.seen.append(looked)
        if self.refuses_schema and looked.schema is not None:
            return Script.error(400, "Unknown parameter: 'response_format'.")
        return chat(json.dumps(self.think(looked), ensure_ascii=False))

    def think(self, looked: Looked) -> dict[str, Any]:
        """What the model makes of it."""
        if looked.schema is None or "scores" in looked.schema["properties"]:
            ids = criteria_of(looked)
            scores = dict.fromkeys(ids, self.score(looked))
            return {"scores": scores, "reason": f"looks {nearest(results_of(looked)[0].colour)}"}
        if "better" in looked.schema["properties"]:
            first, second = results_of(looked)
            marks = [distance(one.colour, COLOURS[looked.wanted]) for one in (first, second)]
            return {"better": "tie" if marks[0] == marks[1] else "A" if marks[0] < marks[1] else "B"}
        name = next(iter(looked.schema["properties"]))
        return {name: f"turn it from {nearest(looked.pictures[0].colour)} to {nearest(looked.pictures[-1].colour)}"}

    def score(self, looked: Looked) -> float:
        """10 for the colour itself, less the further away."""
        return round(max(0.0, 10 - distance(results_of(looked)[0].colour, COLOURS[looked.wanted]) / 25), 1)


def results_of(looked: Looked) -> list[Shown]:
    """The pictures labelled as results."""
    return [picture for picture in looked.pictures if picture.is_result]


def criteria_of(looked: Looked) -> list[str]:
    """The ids of the criteria, as the text lists them."""
    lines = [line for line in looked.prompt.splitlines() if line.startswith("- ")]
    return [line[2:].partition(":")[0] for line in lines]


def read_request(request: Received) -> Looked:
    """What a chat request shows and asks; KeyError for one that is none."""
    body = request.json
    words: list[str] = []
    pictures: list[Shown] = []
    for part in body["messages"][-1]["content"]:
        if part["type"] == "text":
            words.append(part["text"])
            continue
        data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
        with Image.open(io.BytesIO(data)) as image:
            pixel = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
            assert isinstance(pixel, tuple)
            pictures.append(Shown(words[-1], image.size, (int(pixel[0]), int(pixel[1]), int(pixel[2])), data))
    form = body.get("response_format")
    schema = form["json_schema"]["schema"] if form else None
    return Looked(words[0], pictures, schema, request.headers.get("authorization", ""))


def chat(text: str, **changes: Any) -> Script:
    """A chat completion that says this."""
    message = {"role": "assistant", "content": text}
    return Script.json({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}, **changes)


def nearest(colour: tuple[int, int, int]) -> str:
    """The name of a colour."""
    return min(COLOURS, key=lambda name: distance(COLOURS[name], colour))


def distance(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Mean difference of the channels, 0..255."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / 3


def coloured(name: str, number: int = 0, size: tuple[int, int] = (96, 64)) -> bytes:
    """A PNG of that colour, each number another file, with something to see in it."""
    red, green, blue = COLOURS[name]
    image = Image.new("RGB", size, (red, green, blue))
    for x in range(size[0]):
        for y in range(0, size[1], 3):
            if (x * (number + 3) + y * 7) % 11 < 4:
                image.putpixel((x, y), (max(0, red - 25), max(0, green - 25), max(0, blue - 25)))
    image.putpixel((number % size[0], number // size[0]), (255, 255, 255))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
