"""The event reader: the same events however the bytes are cut, in linear time, for every kind of stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ApiMode
from engine.errors import AnswerUnusable, Code
from engine.upstream.answer import AnswerReader
from engine.upstream.image_links import read_words
from engine.upstream.sse import EventReader, ServerEvent, has_too_many_values, json_or_none, parse_json, well_formed

SAMPLES = sorted(Path(__file__).parents[2].joinpath("samples").glob("*.[sjt][sx]*"))
LIMIT = 1 << 28


def read(body: bytes, sizes: Sequence[int] = (), limit: int = LIMIT) -> list[tuple[str, str]]:
    """Events of a body cut into pieces of these sizes, over and over; the code of an error comes last."""
    reader = EventReader(limit)
    events: list[ServerEvent] = []
    try:
        position, number = 0, 0
        while position < len(body):
            size = sizes[number % len(sizes)] if sizes else len(body)
            events += reader.feed(body[position : position + size])
            position, number = position + size, number + 1
        events += reader.close()
    except AnswerUnusable as error:
        events.append(ServerEvent(error.code, str(error.params["limit"])))
    return [(event.name, event.data) for event in events]


def data(body: str | bytes) -> list[str]:
    """Only the data of the events."""
    return [text for _, text in read(body if isinstance(body, bytes) else body.encode())]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_line_end_ends_a_line(end: str) -> None:
    """CR, LF and CRLF are all line ends."""
    lines = ["event: a", "data: 1", "", ": comment", "id: 7", "retry: 10", "data: 2", "data: 3", "", ""]
    assert read(end.join(lines).encode()) == [("a", "1"), ("", "2\n3")]


def test_mixed_line_ends_and_a_bom() -> None:
    """Line ends may change within a stream, and a BOM may lead it."""
    assert data("\ufeffdata: 1\r\rdata: 2\n\r\ndata: 3\r\n\n") == ["1", "2", "3"]


@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\x85b", "a\x0bb", "a\x0cb", "a\x1cb"])
def test_nothing_else_ends_a_line(text: str) -> None:
    """U+2028 and its like stay inside the data."""
    assert data(f"data: {text}\n\n") == [text]


def test_field_rules() -> None:
    """One blank after the colon goes, other blanks stay; a name without data is forgotten; empty data is no event."""
    assert read(b"data:x\n\ndata:  y\n\nevent: lost\n\ndata: z\n\ndata\n\ndata:\n\n") == [
        ("", "x"),
        ("", " y"),
        ("", "z"),
    ]


def test_last_event_without_its_blank_line() -> None:
    """A stream that ends in the middle of an event gives what there is of it."""
    assert read(b"event: e\ndata: 1\n\ndata: 2") == [("e", "1"), ("", "2")]
    assert data(b'data: {"a":"cut') == ['{"a":"cut']


def test_values_without_blank_lines_between_are_separate() -> None:
    """Gateways forget the blank line; two JSON values never make one event."""
    assert data('data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n') == ['{"a":1}', '{"b":2}', "[DONE]"]


def test_pretty_printed_data_lines() -> None:
    """One JSON value over several data lines, or with the prefix on the first line only."""
    assert parse_json(data('data: {\ndata:   "a": [{\ndata: }]}\n\n')[0]) == {"a": [{}]}
    assert parse_json(data('data: {\n  "a": [\n  {"b": 1}\n  ]\n}\n\n')[0]) == {"a": [{"b": 1}]}


@pytest.mark.parametrize(
    "body",
    [
        '{"a":"}\\"{"}\n{"b":[1,{"c":"]"}]}\n[DONE]\n',
        '{"a":"}\\"{"}{"b":[1,{"c":"]"}]}[DONE]',
        '{\n  "a": "}\\"{"\n}\n\n{\n "b": [1,\n {"c": "]"}]\n}\n[DONE]',
        '\ufeff \x1e{"a":"}\\"{"},\r\n{"b":[1,{"c":"]"}]}\r\ndata: [DONE]\r\n\r\n',
    ],
)
def test_json_sequences_without_prefix(body: str) -> None:
    """Values one a line, back to back, pretty-printed, or separated by commas; brackets in strings do not count."""
    first, second, end = data(body)
    assert (parse_json(first), parse_json(second), end) == ({"a": '}"{'}, {"b": [1, {"c": "]"}]}, "[DONE]")


def test_event_name_before_bare_json() -> None:
    """An event line names the JSON that follows without a prefix."""
    assert read(b'event: x\n{"a":1}\n{"b":2}\n') == [("x", '{"a":1}'), ("", '{"b":2}')]


def test_a_broken_value_does_not_swallow_the_rest() -> None:
    """After a JSON value that never ends, data lines count again."""
    assert data('{"a":"broken\ndata: {"b":1}\n\ndata: [DONE]\n\n') == ['{"a":"broken\n', '{"b":1}', "[DONE]"]


def test_a_page_instead_of_a_stream_is_one_event() -> None:
    """The beginning of an error page is handed on, but only if there was no event at all."""
    assert data("<html>\n<h1>Sorry</h1>\n") == ["<html>\n<h1>Sorry</h1>\n"]
    assert data("<html>\ndata: 1\n\nnoise\n") == ["1"]
    assert len(data(b"x" * 100_000 + b"\n" + b"y" * 100_000)[0]) < 10_000
    assert data(b"") == []


def test_text_is_utf8_and_damage_is_no_error() -> None:
    """Bytes that are no UTF-8 are replaced; a character may be cut anywhere."""
    body = "data: 图片😀\n\n".encode() + b"data: \xff\xfe!\n\n"
    assert data(body) == ["图片😀", "\ufffd\ufffd!"]
    assert read(body, (1,)) == read(body)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("sizes", [(1,), (7,), (2, 3, 11)], ids=str)
def test_samples_cut_in_odd_pieces(path: Path, sizes: tuple[int, ...]) -> None:
    """Each recorded answer gives the same events byte by byte."""
    body = path.read_bytes()
    assert read(body, sizes) == read(body)


PIECES = [
    *(
        "data: ",
        "data:",
        "event: x",
        "id: 1",
        ": c",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\r\n\r\n",
        "[DONE]",
        " ",
        ",",
        "\t",
        "text",
    ),
    *(
        '{"a":1}',
        '{"a":"',
        '\\"',
        "\\",
        '"',
        "{",
        "}",
        "[",
        "]",
        "\ufeff",
        "\u2028",
        "图",
        "\x1e",
        '{"b":[1,"]"]}',
        "data: {",
    ),
]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(5, 200),
)
def test_same_events_however_cut(text: str, sizes: list[int], limit: int) -> None:
    """Made-up streams, whole or broken, within or beyond the limit: the cut makes no difference."""
    body = text.encode()
    assert read(body, sizes) == read(body)
    assert read(body, sizes, limit) == read(body, (), limit)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_any_bytes_are_read(body: bytes, sizes: list[int]) -> None:
    """No input is an error."""
    assert read(body, sizes) == read(body)


def test_too_long_an_event_is_refused_after_those_before_it() -> None:
    """Events before the one that is too long are handed out; then it stays refused."""
    reader = EventReader(50)
    assert [event.data for event in reader.feed(b"data: 1\n\ndata: " + b"x" * 60)] == ["1"]
    for call in (partial(reader.feed, b"\n\n"), reader.close):
        with pytest.raises(AnswerUnusable) as caught:
            call()
        assert caught.value.code is Code.ANSWER_TOO_LARGE
        assert caught.value.params == {"limit": 50}


@pytest.mark.parametrize("line", [b'{"a":"' + b"x" * 60, b": " + b"x" * 60, b"data: y\n" * 30, b"noise" * 20])
def test_every_kind_of_line_is_bounded(line: bytes) -> None:
    """JSON, comments, many data lines and noise alike."""
    assert read(line, (1,), 50)[-1] == (Code.ANSWER_TOO_LARGE, "50")


def one_line(size: int) -> bytes:
    """A stream with one event of so many bytes."""
    head = b'data: {"choices":[{"delta":{"content":"![image](data:image/png;base64,'
    return head + b"QUJD" * (size // 4) + b')"}}]}\n\ndata: [DONE]\n\n'


def bare_json(size: int) -> bytes:
    """A JSON document with one string of so many bytes."""
    return b'{"data":[{"b64_json":"' + b"QUJD" * (size // 4) + b'"}]}'


def escaped_json(size: int) -> bytes:
    """A JSON document whose string is full of escapes."""
    return b'{"data":["' + b'\\"\\\\' * (size // 4) + b'"]}'


def seconds(body: bytes, chunk: int) -> float:
    """Best of three readings."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        read(body, (chunk,))
        best = min(best, time.perf_counter() - started)
    return best


@pytest.mark.parametrize("make", [one_line, bare_json, escaped_json])
@pytest.mark.parametrize(("chunk", "small", "factor"), [(1, 1 << 13, 8), (4096, 1 << 15, 32)])
def test_time_grows_with_the_input_only(make: Callable[[int], bytes], chunk: int, small: int, factor: int) -> None:
    """Byte by byte or in blocks: ``factor`` times the input takes about ``factor`` times as long, never its square."""
    few, many = seconds(make(small), chunk), seconds(make(small * factor), chunk)
    assert many < few * factor * 6 + 0.1


def test_json_that_is_nearly_json() -> None:
    """Raw line breaks in strings and lone surrogates are read; deep nesting and nonsense are a ValueError."""
    assert parse_json('{"a":"x\ny"}') == {"a": "x\ny"}
    assert well_formed(parse_json('"\\ud83d"') + "!") == "\ufffd!"
    assert well_formed("".join([parse_json('"\\ud83d"'), parse_json('"\\ude00"')])) == "😀"
    for text in ("[" * 200_000, '{"a":' * 100_000, "", "{", "nonsense", "1e", "9" * 5000 + "x"):
        with pytest.raises(ValueError):  # noqa: PT011 - the type is the promise
            parse_json(text)


@pytest.mark.parametrize("value", ["{}", "1"])
@pytest.mark.parametrize("start", ["", "words and "])
def test_an_answer_of_millions_of_values_is_not_taken_apart(value: str, start: str) -> None:
    """It would take gigabytes and minutes; a picture of megabytes, or prose, is none."""
    text = f'{start}{{"data":[{",".join([value] * 600_000)}]}}'
    assert has_too_many_values(text)
    assert has_too_many_values(text.encode())
    assert json_or_none(text) is None
    assert read_words(text).found == []
    reader = AnswerReader(ApiMode.IMAGES_EDITS, "https://a.test/")
    if start:
        reader.feed(ServerEvent("", text))
    else:
        with pytest.raises(AnswerUnusable) as refused:
            reader.feed(ServerEvent("", text))
        assert refused.value.code is Code.ANSWER_TOO_LARGE
    assert not has_too_many_values('{"data":[{"b64_json":"' + "A" * 4_000_000 + '"}]}')
    assert not has_too_many_values("So it is, " * 200_000)
