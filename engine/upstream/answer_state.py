"""Owns what one answer has brought so far: words by choice or item, picture candidates, refusals, errors, its end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Hashable
from typing import Any

import msgspec

from engine.errors import Code, EditFailed
from engine.models import ImageRef, SourceType
from engine.upstream.failure import event_failure
from engine.upstream.image_links import Found, Rank, counting, hidden_parts, read_words, visible_parts
from engine.upstream.image_refs import Refused, find_candidates, is_finished, make_ref, pick_image, shorten
from engine.upstream.sse import well_formed

TEXT_CHARS = 2000
SAMPLED_CHARS = 4096
MAX_ENTRIES = 100  # ten pictures are the most that can be asked for; an answer must not start endless downloads
FILTERED = frozenset(
    {
        "content_filter", "content_moderated", "safety", "image_safety", "prohibited_content", "blocklist", "spii",
        "image_prohibited_content", "recitation", "image_recitation", "refusal", "request_moderated", "sensitive",
    }
)  # fmt: skip
ORDINARY = frozenset(
    {
        "",
        "ok",
        "success",
        "stop",
        "end_turn",
        "eos",
        "completed",
        "complete",
        "finish_reason_unspecified",
        "stop_sequence",
    }
)
"""Reasons for an end that say nothing: the answer is over."""
_FINE = frozenset({"0", "200", "ok", "success"})  # codes that say nothing went wrong


class Entry(msgspec.Struct, frozen=True):
    """A candidate: when it came, where in its text, how surely it is meant."""

    moment: int
    offset: int
    item: ImageRef | Refused
    rank: Rank = Rank.EMBEDDED


class JobRef(msgspec.Struct, frozen=True):
    """A job that the server took on, its result to be collected later. Addresses are absolute, empty where not given.

    ``status``: the server's own word. ``progress``: percent 0..100.
    """

    id: str
    url: str
    status: str = ""
    progress: int | None = None
    result_url: str = ""
    cancel_url: str = ""


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

    def __init__(self, base_url: str, sent: Collection[str] = ()) -> None:
        self.error: EditFailed | None = None
        self.reasons: dict[str, None] = {}
        self.plain_end = ""
        self.job: JobRef | None = None
        self.refusals: list[str] = []
        self.filtered = ""
        self.complaint: dict[str, Any] | None = None
        self.base_url = base_url
        self._sent = sent
        self._moment = 0
        self._entries: list[Entry] = []
        self._spare: list[Entry] = []
        self._texts: dict[Hashable, Text] = {}
        self._thoughts: dict[Hashable, Text] = {}
        self._thought_parts: list[Any] = []
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
        self.note_reason(reason)
        if whole or (isinstance(reason, str) and reason):
            self._shut.add(choice)
            self._open.discard(choice)
            self._ended = True
        elif choice not in self._shut:
            self._open.add(choice)

    @property
    def explained(self) -> bool:
        """Whether the answer says why it holds no picture, or that it will."""
        return bool(self.error or self.refusals or self.filtered or self.complains or self.job or self.reasons)

    @property
    def complains(self) -> bool:
        """Whether there is a complaint, and none by whose code all is well."""
        return self.complaint is not None and str(self.complaint.get("code")).lower() not in _FINE

    def lacks(self, pictures: int) -> bool:
        """Whether a choice was filtered out, and that many pictures are fewer than there were choices."""
        return bool(self.filtered) and pictures < len(self._shut)

    def note_reason(self, reason: object) -> None:
        """Remember why the answer ended, if that says anything, and whether it means: refused for its content."""
        if not isinstance(reason, str) or reason.lower() in ORDINARY:
            self.plain_end = reason if isinstance(reason, str) and reason else self.plain_end
            return
        self.reasons.setdefault(shorten(" ".join(well_formed(reason).split())))
        if reason.lower().replace(" ", "_") in FILTERED:
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

    def think(self, key: Hashable, where: str, thought: object) -> None:
        """Thinking, a piece of its words or a part: what pictures it holds counts only where nothing else does."""
        if isinstance(thought, str):
            self._thoughts.setdefault(key, Text(where)).add(thought, 0)
        elif thought:
            self._thought_parts.append(thought)

    def refuse(self, text: object) -> None:
        """The model's own words of refusal."""
        if isinstance(text, str) and text and text not in self.refusals:
            self.refusals.append(text)

    def image(self, item: Any, where: str) -> None:
        """The picture that a JSON value names, if it names one."""
        ref = pick_image(item, where, self.base_url)
        if ref is not None:
            self._enter(ref)

    def body(self, data: bytes) -> None:
        """The picture that the whole body is: it may be large, and is written down in no other way."""
        if data:
            self._enter(ImageRef(SourceType.BASE64, "", "body", data=data))

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
        ref = make_ref(text, where, self.base_url)
        if isinstance(ref, ImageRef) and not self._is_ours(ref):
            self._moment += 1
            self._spare.append(Entry(self._moment, 0, ref))

    def look_anywhere(self, value: Any) -> None:
        """Take what cannot be but a picture, under whatever key it stands: for an answer that holds nothing else."""
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and "partial" in kind:
            return
        for candidate in find_candidates(value, pictorial=False, anywhere=True):
            if not candidate.words:
                self.spare_image(candidate.text, candidate.where)

    @property
    def count(self) -> tuple[int, int]:
        """How many pictures were named so far beside the words, and how often anything was said or named."""
        return len(self._entries), self._moment

    def _enter(self, item: ImageRef | Refused) -> None:
        if isinstance(item, ImageRef) and self._is_ours(item):
            return
        self._moment += 1
        self._entries.append(Entry(self._moment, 0, item))

    def _is_ours(self, ref: ImageRef) -> bool:
        """Whether it is an address that we sent; megabytes of base64 are not hashed for that."""
        return ref.source_type is SourceType.URL and ref.value in self._sent

    def result(self) -> tuple[list[ImageRef], list[Refused], str]:
        """Unique references and refusals in order of first appearance, and the words."""
        entries = list(self._entries)
        said: dict[str, None] = {}
        for text in self._texts.values():
            for version, moment in text.versions():
                for part in self._read(text, well_formed(version), moment, entries):
                    said.setdefault(part)
        ranks = {entry.rank for entry in entries if isinstance(entry.item, ImageRef)}
        if not ranks or ranks == {Rank.BARE}:
            entries += self._spare
        if not ranks and not self._spare and self.ended:
            entries += self._from_thinking()
        refs, refused = _unique(entries)
        words = "\n".join([*said, *self.refusals]).strip()
        return refs[:MAX_ENTRIES], refused[:MAX_ENTRIES], well_formed(words)[:TEXT_CHARS]

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
                ref = self._ref_of(found, text.where)
                if ref is not None:
                    start = offset + found.start
                    when = text.moment_of(start) if moment is None else moment
                    entries.append(Entry(when, start, ref, found.rank))
        return [part for part in said if part]

    def _ref_of(self, found: Found, where: str) -> ImageRef | Refused | None:
        """What a candidate in words names; never the address of the picture that we sent."""
        ref = make_ref(found.value, where, self.base_url)
        if isinstance(ref, ImageRef) and self._is_ours(ref):
            ref = None
        if not found.thumbnail:
            return ref
        shown = make_ref(found.thumbnail, where, self.base_url)
        if not isinstance(ref, ImageRef) or not isinstance(shown, ImageRef) or shown.value == ref.value:
            return ref if isinstance(ref, ImageRef) else shown
        return msgspec.structs.replace(ref, thumbnail=shown)

    def _from_thinking(self) -> list[Entry]:
        """Pictures in the thinking: its parts that are pictures, and what stands inline in its words.

        Links in its words lead to what was thought of, not to what was drawn.
        """
        candidates: list[tuple[str, str]] = []
        words = ["".join(version for version, _ in text.versions()) for text in self._thoughts.values()]
        for text in self._texts.values():
            words += [part for version, _ in text.versions() for part in hidden_parts(version)]
        for part in self._thought_parts:
            for candidate in find_candidates(part, pictorial=True, hidden=True):
                if candidate.words:
                    words.append(candidate.text)
                else:
                    candidates.append((candidate.text, f"thought.{candidate.where}"))
        for told in words:
            inline = (found.value for found in read_words(told).found if not found.value.startswith(("http", "/")))
            candidates += [(value, "thought") for value in inline]
        refs = (make_ref(value, where, self.base_url) for value, where in candidates)
        return [Entry(0, number, ref) for number, ref in enumerate(refs) if isinstance(ref, ImageRef)]


def _unique(entries: list[Entry]) -> tuple[list[ImageRef], list[Refused]]:
    """What counts of the candidates, each once, in order."""
    count = counting({entry.rank for entry in entries if isinstance(entry.item, ImageRef)})
    ordered = sorted(entries, key=lambda entry: (entry.moment, entry.offset))
    shown = {
        entry.item.thumbnail.value for entry in ordered if isinstance(entry.item, ImageRef) and entry.item.thumbnail
    }
    refs: list[ImageRef] = []
    known: dict[Hashable, list[str]] = {}
    refused: dict[tuple[str, str, str], Refused] = {}
    for entry in ordered:
        item = entry.item
        if not isinstance(item, ImageRef):
            refused.setdefault((item.where, item.code, item.sample), item)
        elif entry.rank in count and not _is_shown(item, shown):
            alike = known.setdefault(_sample(item.value), [])
            if item.value not in alike:
                alike.append(item.value)
                refs.append(item)
    return refs, list(refused.values())


def _is_shown(ref: ImageRef, shown: Collection[str]) -> bool:
    """Whether it is another picture's thumbnail."""
    return ref.source_type is SourceType.URL and ref.thumbnail is None and ref.value in shown


def _sample(value: str) -> Hashable:
    """The same for the same value, and quickly hashed: hashing megabytes takes longer than comparing them."""
    if len(value) < SAMPLED_CHARS:
        return value
    return len(value), value[:SAMPLED_CHARS], value[:: len(value) // 1024], value[-SAMPLED_CHARS:]
