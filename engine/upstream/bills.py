"""What an answer says of its cost: an amount, credits, or tokens that a table of prices turns into one. Pure.

Places: ``usage.cost`` and ``cost`` (OpenRouter and its like, in USD; Black Forest Labs, in credits),
``usage.cost_in_usd_ticks`` (xAI, 1e-10 USD), ``usage`` of chat, responses and images (OpenAI), ``usageMetadata``
(Gemini). What is negative, not finite or of another currency is no bill.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from engine.money import UNIT, exact

_TICKS = ("cost_in_usd_ticks", "cost_usd_ticks", "usd_ticks")
_COSTS = ("cost", "total_cost", "cost_usd", "total_cost_usd")
_CREDITS = ("credits_used", "credits_consumed", "credit_cost", "used_credits")
_MILLION = 10**6
_MARKS = frozenset({*_TICKS, *_COSTS, *_CREDITS, "usage", "usageMetadata", "usage_metadata", "response", "result"})


class Usage(msgspec.Struct, frozen=True):
    """Tokens. ``image``: of ``input``, those of pictures; ``cached``: of ``input``, those billed as read before;
    ``drawn``: of ``output``, those of pictures, None where the answer does not part them."""

    input: int
    output: int
    image: int = 0
    cached: int = 0
    drawn: int | None = None


class Bill(msgspec.Struct, frozen=True):
    """``amount`` and ``credits`` in units of `engine.money`; ``told``: by a field whose unit is sure to be USD."""

    amount: int | None = None
    credits: int | None = None
    usage: Usage | None = None
    told: bool = False

    def then(self, later: Bill | None) -> Bill:
        """What is known when a further part of the same answer has come."""
        if later is None:
            return self
        amount, told = (self.amount, self.told) if later.amount is None else (later.amount, later.told)
        return Bill(amount, self.credits if later.credits is None else later.credits, later.usage or self.usage, told)


class Price(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model costs, in USD. ``host``: with its subdomains, "" for any; ``model``: its name, ``*`` at the end for
    any rest. ``input``, ``image``, ``cached``, ``output``, ``drawn``: a million tokens of each kind of `Usage`.
    ``per_call``, ``per_picture``: flat; ``credit``: one credit, where ``cost`` tells credits."""

    host: str = ""
    model: str = "*"
    input: float | None = None
    image: float | None = None
    cached: float | None = None
    output: float | None = None
    drawn: float | None = None
    per_call: float | None = None
    per_picture: float | None = None
    credit: float | None = None

    def fits(self, host: str, model: str) -> bool:
        """Whether it is about this model at this host."""
        own, name, wanted = self.host.lower(), self.model.lower(), model.lower()
        if own and host.lower() != own and not host.lower().endswith(f".{own}"):
            return False
        return wanted.startswith(name[:-1]) if name.endswith("*") else wanted == name

    def flat(self, pictures: int) -> int | None:
        """The price of a call that brings so many pictures, None where it has no flat one."""
        if self.per_call is not None:
            return exact(self.per_call)
        each = exact(self.per_picture)
        return each * pictures if each is not None else None

    def of_tokens(self, usage: Usage) -> int | None:
        """The price of tokens; None where the table has none for a kind that was used."""
        image = self.input if self.image is None else self.image
        cached = self.input if self.cached is None else self.cached
        drawn = self.output if self.drawn is None else self.drawn
        output = self.drawn if self.output is None else self.output
        pictures = usage.drawn if usage.drawn is not None else usage.output if self.drawn is not None else 0
        plain_input = max(0, usage.input - usage.image - usage.cached)
        parts = (
            (plain_input, self.input), (usage.image, image), (usage.cached, cached),
            (pictures, drawn), (max(0, usage.output - pictures), output),
        )  # fmt: skip
        total = 0
        for tokens, dollars in parts:
            price = exact(dollars)
            if tokens and price is None:
                return None
            total += tokens * (price or 0)
        return (total + _MILLION // 2) // _MILLION


def price_for(prices: Iterable[Price], host: str, model: str) -> Price | None:
    """The entry that fits best: a named host before any, a name before a part of one, the longer, the first."""
    fitting = [price for price in prices if price.fits(host, model)]
    return max(
        fitting, key=lambda price: (bool(price.host), not price.model.endswith("*"), len(price.model)), default=None
    )


def amount_of(bill: Bill | None, price: Price | None, per_call: int | None, pictures: int, asked: int) -> int | None:
    """What a call costs that brought so many ``pictures`` of those ``asked`` for: what its answer says, else tokens by
    the table, else ``per_call`` of the configuration, else the table's flat price; None for unknown."""
    bill = bill or Bill()
    credit = exact(price.credit) if price is not None else None
    if credit is not None and not bill.told:
        paid = bill.credits if bill.credits is not None else bill.amount
        if paid is not None:
            return paid * credit // UNIT
    if bill.amount is not None:
        return bill.amount
    if bill.usage is not None and price is not None and (of_tokens := price.of_tokens(bill.usage)) is not None:
        return of_tokens
    if per_call:
        return per_call
    return price.flat(pictures or asked) if price is not None else None


def read_bill(value: Any) -> Bill | None:
    """The bill in one JSON object of an answer; None where it says nothing."""
    if not isinstance(value, dict) or value.keys().isdisjoint(_MARKS):  # most are pieces of a stream
        return None
    found = Bill()
    for part in (value, value.get("response"), value.get("result")):
        if isinstance(part, dict):
            found = found.then(_read(part))
    return found if found != Bill() else None


def bill_of(documents: Iterable[Any]) -> Bill:
    """The bill in the parts of one answer together."""
    found = Bill()
    for document in documents:
        found = found.then(read_bill(document))
    return found


def _read(part: dict[str, Any]) -> Bill:
    usage = part.get("usage") or part.get("usageMetadata") or part.get("usage_metadata")
    places = [usage, part] if isinstance(usage, dict) else [part]
    paid = _first(places, _CREDITS, exact)
    if paid is None and isinstance(usage, dict):
        paid = exact(usage.get("credits"))
    ticks = _first(places, _TICKS, _count)
    if ticks is not None:
        return Bill(ticks, paid, _usage(usage), told=True)
    amount = _first(places, _COSTS, _dollars)
    named = any(name in place for place in places for name in ("cost_usd", "total_cost_usd"))
    return Bill(amount, paid, _usage(usage), told=named and amount is not None)


def _first(places: list[dict[str, Any]], names: tuple[str, ...], read: Any) -> int | None:
    found = (read(place[name]) for place in places for name in names if name in place)
    return next((amount for amount in found if amount is not None), None)


def _dollars(value: Any) -> int | None:
    if isinstance(value, dict):
        if str(value.get("currency") or "usd").lower() not in ("usd", "$"):
            return None
        value = next((value[name] for name in ("amount", "total", "value", "usd") if name in value), None)
    return exact(value)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else None


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None

    def number(*names: str) -> int | None:
        return next((count for name in names if (count := _count(usage.get(name))) is not None), None)

    read = number("input_tokens", "prompt_tokens", "promptTokenCount", "prompt_token_count")
    written = number("output_tokens", "completion_tokens", "candidatesTokenCount", "candidates_token_count")
    if read is None and written is None:
        return None
    written = (written or 0) + (number("thoughtsTokenCount", "thoughts_token_count") or 0)
    came = _details(usage, "input_tokens_details", "prompt_tokens_details", "promptTokensDetails")
    went = _details(usage, "output_tokens_details", "completion_tokens_details", "candidatesTokensDetails")
    cached = came.get("cached") or number("cachedContentTokenCount") or 0
    return Usage(read or 0, written, min(came.get("image", 0), read or 0), min(cached, read or 0), went.get("image"))


def _details(usage: dict[str, Any], *names: str) -> dict[str, int]:
    """Tokens by kind: ``{"image_tokens": 1}``, or Gemini's ``[{"modality": "IMAGE", "tokenCount": 1}]``."""
    given: Any = next((usage[name] for name in names if isinstance(usage.get(name), dict | list)), {})
    if isinstance(given, list):
        entries = [entry for entry in given if isinstance(entry, dict)]
        pairs = [(str(entry.get("modality", "")).lower(), entry.get("tokenCount")) for entry in entries]
    else:
        pairs = [(name.removesuffix("_tokens"), count) for name, count in given.items()]
    return {name: count for name, value in pairs if (count := _count(value)) is not None}
