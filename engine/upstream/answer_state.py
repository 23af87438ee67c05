"""Owns what one answer has brought so far: words by choice or item, picture candidates, refusals, errors, its end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from typing import Any

from engine.errors import Code, EditFailed
from engine.models import ImageRef
from engine.upstream.failure import event_failure
from engine.upstream.image_links import read_words, visible_parts
from engine.upstream.image_refs import Refused, is_finished, make_ref, pick_image
from engine.upstream.sse import well_formed

TEXT_CHARS = 2000
SAMPLED_CHARS = 4096
MAX_ENTRIES = 100  # ten pictures are the most that can be asked for; an answer must not start endless downloads
FILTERED = frozenset(
    {"content_filter", "safety", "image_safety", "prohibited_content", "blocklist", "spii", "image_prohibited_content"}
)

# (when, offset in the text, candidate)
Entry = tuple[int, int, ImageRef | Refused]


class Text:
    """The words of one choice or item: joined from pieces, and as told again in one piece."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.wholes: dict[str, int] = {}
        self._pieces: list[str] = []
        self._offsets: list[int] = []
        self._moments: list[int] = []
        self._length = 0

    def add(self, piece: str, moment: int) -> None:
        """A piece, and when it came."""
        self._pieces.append(piece)
        self._offsets.append(self._length)
        self._moments.append(moment)
        self._length += len(piece)

    def versions(self) -> list[tuple[str, int | None]]:
        """Each different telling, with its moment; None for the one joined from pieces."""
        joined = "".join(self._pieces)
        wholes = [(text, moment) for text, moment in self.wholes.items() if text != joined]
        return [(joined, None), *wholes] if joined else [*wholes]

    def moment_of(self, offset: int) -> int:
        """When the character at ``offset`` of the joined text came."""
        return self._moments[bisect_right(self._offsets, offset) - 1]


class AnswerState:
    """Filled by the shape readers, in the order of the answer."""

    def __init__(self, base_url: str) -> None:
        self.error: EditFailed | None = None
        self.refusals: list[str] = []
        self.filtered = ""
        self.complaint: dict[str, Any] | None = None
        self._base_url = base_url
        self._moment = 0
        self._entries: list[Entry] = []
        self._spare: list[Entry] = []
        self._texts: dict[Hashable, Text] = {}
        self._ended = False
        self._open: set[Hashable] = set()
        self._shut: set[Hashable] = set()

    # --- the end -----------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the answer said that it is over, in all of its choices."""
        return self._ended and not self._open

    def end(self) -> None:
        """The answer is over."""
        self._ended = True
        self._open.clear()

    def end_unless_open(self) -> None:
        """The answer is over, unless a choice that began has still to end."""
        self._ended = True

    def note_choice(self, choice: Hashable, reason: object, *, whole: bool = False) -> None:
        """One choice went on, or ended for ``reason``."""
        self.note_filter(reason)
        if whole or (isinstance(reason, str) and reason):
            self._shut.add(choice)
            self._open.discard(choice)
            self._ended = True
        elif choice not in self._shut:
            self._open.add(choice)

    def lacks(self, pictures: int) -> bool:
        """Whether a choice was filtered out, and that many pictures are fewer than there were choices."""
        return bool(self.filtered) and pictures < len(self._shut)

    def note_filter(self, reason: object) -> None:
        """Remember a reason that means: refused for its content."""
        if isinstance(reason, str) and reason.lower() in FILTERED:
            self.filtered = self.filtered or reason

    def fail(self, error: object) -> None:
        """The answer holds an error; the first one counts."""
        self.error = self.error or event_failure(error)

    # --- words and pictures ------------------------------------------------------------------------------------------

    def say(self, key: Hashable, where: str, text: object, *, piece: bool) -> None:
        """Words of a choice or item: a piece to be joined, or all of them at once."""
        if not isinstance(text, str) or not text:
            return
        self._moment += 1
        words = self._texts.setdefault(key, Text(where))
        if piece:
            words.add(text, self._moment)
        else:
            words.wholes.setdefault(text, self._moment)

    def refuse(self, text: object) -> None:
        """The model's own words of refusal."""
        if isinstance(text, str) and text and text not in self.refusals:
            self.refusals.append(text)

    def image(self, item: Any, where: str) -> None:
        """The picture that a JSON value names, if it names one."""
        ref = pick_image(item, where, self._base_url)
        if ref is not None:
            self._enter(ref)

    def images(self, items: Any, where: str) -> None:
        """A list of pictures; an error may stand in the place of one."""
        for number, item in enumerate(items if isinstance(items, list) else [items]):
            place = f"{where}[{number}]"
            if isinstance(item, dict) and item.get("error"):
                self._enter(Refused(place, Code.UPSTREAM_ERROR, "error"))
                self.fail(item)
            else:
                self.image(item, place)

    def spare_image(self, text: str, where: str) -> None:
        """What may be a picture, at a place that no known shape names: it counts where nothing else does."""
        ref = make_ref(text, where, self._base_url)
        if isinstance(ref, ImageRef):
            self._moment += 1
            self._spare.append((self._moment, 0, ref))

    @property
    def count(self) -> tuple[int, int]:
        """How many pictures were named so far beside the words, and how often anything was said or named."""
        return len(self._entries), self._moment

    def _enter(self, item: ImageRef | Refused) -> None:
        self._moment += 1
        self._entries.append((self._moment, 0, item))

    def result(self) -> tuple[list[ImageRef], list[Refused], str]:
        """Unique references and refusals in order of first appearance, and the words."""
        entries = list(self._entries)
        said: dict[str, None] = {}
        for text in self._texts.values():
            for version, moment in text.versions():
                for part in self._read(text, well_formed(version), moment, entries):
                    said.setdefault(part)
        if not any(isinstance(item, ImageRef) for _, _, item in entries):
            entries += self._spare
        refs: list[ImageRef] = []
        known: dict[Hashable, list[str]] = {}
        refused: dict[tuple[str, str, str], Refused] = {}
        for _, _, item in sorted(entries, key=lambda entry: entry[:2]):
            if isinstance(item, ImageRef):
                alike = known.setdefault(_sample(item.value), [])
                if item.value not in alike:
                    alike.append(item.value)
                    refs.append(item)
            else:
                refused.setdefault((item.where, item.code, item.sample), item)
        words = "\n".join([*said, *self.refusals]).strip()
        return refs[:MAX_ENTRIES], list(refused.values())[:MAX_ENTRIES], well_formed(words)[:TEXT_CHARS]

    def _read(self, text: Text, version: str, moment: int | None, entries: list[Entry]) -> list[str]:
        """Pictures in one telling of a text, into ``entries``; gives the words around them."""
        said = []
        for offset, part in visible_parts(version):
            words = read_words(part)
            said.append("".join(words.words).strip()[:TEXT_CHARS])
            for found in words.found:
                # What the end of a cut stream cut off is no picture.
                if not (found.whole or self.ended or is_finished(found.value)):
                    continue
                ref = make_ref(found.value, text.where, self._base_url)
                if ref is not None:
                    start = offset + found.start
                    entries.append((text.moment_of(start) if moment is None else moment, start, ref))
        return [part for part in said if part]


def _sample(value: str) -> Hashable:
    """The same for the same value, and quickly hashed: hashing megabytes takes longer than comparing them."""
    if len(value) < SAMPLED_CHARS:
        return value
    return len(value), value[:SAMPLED_CHARS], value[:: len(value) // 1024], value[-SAMPLED_CHARS:]
