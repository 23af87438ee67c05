"""Pictures in values and in words: base64 in all its dresses, Markdown, tags, bare URLs, and what is none of these."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import Code
from engine.models import ImageRef, SourceType
from engine.upstream.image_links import counting, read_words, visible_parts
from engine.upstream.image_refs import Refused, clean_base64, has_signature, is_finished, looks_like_image, make_ref
from tests.fakes.answers import JPEG, PNG, WEBP

BASE = "https://api.invalid/v1/images/edits"


def found(text: str) -> list[str]:
    """Candidates in the words that count."""
    candidates = read_words(text).found
    count = counting({candidate.rank for candidate in candidates})
    return [candidate.value for candidate in candidates if candidate.rank in count]


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.booleans(), st.integers(1, 80))
def test_base64_in_every_dress(data: bytes, safe: bool, width: int) -> None:
    """Either alphabet, with or without padding, wrapped at any width: the same clean text."""
    text = (urlsafe_b64encode if safe else b64encode)(data).decode()
    bare = text.rstrip("=")
    wrapped = "\r\n ".join(bare[start : start + width] for start in range(0, len(bare), width))
    for dressed in (text, bare, wrapped, f"\n{text}\n"):
        assert clean_base64(dressed) == b64encode(data).decode()


def test_base64_with_escapes() -> None:
    """Percent and HTML escapes inside a data URL."""
    assert clean_base64("QUI%2B%2FQ%3D%3D") == "QUI+/Q=="
    assert clean_base64("QUI&#43;/Q==") == "QUI+/Q=="


@pytest.mark.parametrize("text", ["", "=", "A", "AAAAA", "QU!J", "QUJD=QUJD", "图片", "QU.JD", " \n"])
def test_what_is_no_base64(text: str) -> None:
    """Other characters, padding inside, and lengths that cannot be."""
    assert clean_base64(text) is None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_judged(text: str) -> None:
    """No text makes the readers fail."""
    clean = clean_base64(text)
    assert clean is None or b64decode(clean, validate=True)
    assert has_signature(text) in (True, False)
    assert is_finished(text) in (True, False)
    assert looks_like_image(text) in (True, False)
    ref = make_ref(text, "here", BASE)
    assert ref is None or isinstance(ref, ImageRef | Refused)


@pytest.mark.parametrize("text", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
def test_finished_pictures_are_told_from_cut_ones(text: str) -> None:
    """A file's own end mark shows whether its base64 was cut."""
    assert has_signature(text)
    assert is_finished(text)
    assert is_finished(f"data:image/png;base64,{text}")
    for cut in (4, 8, 40):
        assert not is_finished(text[:-cut])


@pytest.mark.parametrize(
    ("value", "inline", "expected"),
    [
        ("https://h.invalid/a?x=1&amp;y=2", False, "https://h.invalid/a?x=1&y=2"),
        ("HTTPS://h.invalid/A", True, "https://h.invalid/A"),
        ("/v1/files/a.png", False, "https://api.invalid/v1/files/a.png"),
        ("/v1/files/a.png", True, "https://api.invalid/v1/files/a.png"),
        ("../a.png", False, "https://api.invalid/v1/a.png"),
        ("//cdn.invalid/a", False, "https://cdn.invalid/a"),
        (" https://h.invalid/my file.png\n", False, "https://h.invalid/my%20file.png"),
        ("https:\\/\\/h.invalid\\/a", False, "https://h.invalid/a"),
    ],
)
def test_urls(value: str, inline: bool, expected: str) -> None:
    """Relative to the API, HTML-escaped, with blanks or escaped slashes."""
    ref = make_ref(value, "here", BASE, inline=inline)
    assert isinstance(ref, ImageRef)
    assert (ref.source_type, ref.value, ref.where) == (SourceType.URL, expected, "here")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (f"data:image/jpeg;base64,{PNG}", SourceType.DATA_URL, PNG),
        (f"DATA:;BASE64,{PNG}", SourceType.DATA_URL, PNG),
        (f"data:image/png;charset=utf-8;base64,{PNG}", SourceType.DATA_URL, PNG),
        (PNG, SourceType.BASE64, PNG),
        (JPEG, SourceType.BASE64, JPEG),  # begins with a slash
        (WEBP.rstrip("="), SourceType.BASE64, WEBP),
        (f"data:image/png,{quote(b64decode(PNG), safe='')}", SourceType.DATA_URL, PNG),
    ],
)
def test_inline_pictures(value: str, kind: SourceType, expected: str) -> None:
    """With or without a data: prefix, whatever kind it claims to be, wherever it stands."""
    for inline in (True, False):
        ref = make_ref(value, "here", BASE, inline=inline)
        assert isinstance(ref, ImageRef)
        assert (ref.source_type, ref.value) == (kind, expected)


@pytest.mark.parametrize("head", ["base64,", "image/png;base64,", ";base64,"])
def test_base64_behind_half_a_prefix(head: str) -> None:
    """Gateways cut data: URLs at many places."""
    ref = make_ref(head + PNG, "here", BASE, inline=True)
    assert isinstance(ref, ImageRef)
    assert (ref.source_type, ref.value) == (SourceType.BASE64, PNG)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("error", Code.UPSTREAM_ERROR),
        ("file:///etc/passwd", Code.URL_SCHEME),
        ("sandbox:/mnt/data/a.png", Code.URL_SCHEME),
        ("javascript:alert(1)", Code.URL_SCHEME),
        ("http://", Code.URL_MALFORMED),
        ("http://[::1/a", Code.URL_MALFORMED),
        ("#here", Code.URL_MALFORMED),
        ("https://h.invalid/" + "x" * 9000, Code.URL_MALFORMED),
        ("data:image/svg+xml,<svg/>", Code.BASE64_INVALID),
        ("data:image/png;base64,", Code.BASE64_INVALID),
        ("data:" + "x" * 500, Code.BASE64_INVALID),
    ],
)
def test_values_that_are_refused(value: str, code: Code) -> None:
    """They keep their place and a short sample."""
    refused = make_ref(value, "here", BASE)
    assert isinstance(refused, Refused)
    assert (refused.where, refused.code) == ("here", code)
    assert len(refused.sample) < 160


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("![a](http://h.invalid/x)", ["http://h.invalid/x"]),
        ("![](http://h.invalid/x?y=(1)&z=2) and (more)", ["http://h.invalid/x?y=(1)&z=2"]),
        ('![a](http://h.invalid/x "A title (really)")', ["http://h.invalid/x"]),
        ("![a]( <http://h.invalid/a b> )", ["http://h.invalid/a b"]),
        ("![a [b] c](relative/x)", ["relative/x"]),
        ("![a](http://h.invalid/a\\_b\\(1\\))", ["http://h.invalid/a_b(1)"]),
        ("[![thumb](http://h.invalid/t)](http://h.invalid/full)", ["http://h.invalid/full"]),
        ("[![thumb](http://h.invalid/t)](http://h.inv", ["http://h.invalid/t"]),  # cut
        ("[ ![thumb](http://h.invalid/t)\n](http://h.invalid/full)", ["http://h.invalid/full"]),
        ("[<img src='http://h.invalid/t'>](http://h.invalid/full \"x\")", ["http://h.invalid/full"]),
        (f"[![a](data:image/png;base64,{PNG})](http://h.invalid/full)", ["http://h.invalid/full"]),
        ("![a](http://h.invalid/x) [download](http://h.invalid/y.png) http://h.invalid/z.png", ["http://h.invalid/x"]),
        ("Wow![1] see [this](http://h.invalid/page)", []),
        ("[link](http://h.invalid/page) [picture](http://h.invalid/a.png)", ["http://h.invalid/a.png"]),
        ("![a]()![b](x)", ["x"]),
        ("![a](\n  http://h.invalid/x\n)", ["http://h.invalid/x"]),
        (f"![a](data:image/png;base64,{PNG[:40]}\n{PNG[40:]})!", [f"data:image/png;base64,{PNG[:40]}\n{PNG[40:]}"]),
        (f'![a](data:image/png;base64,{PNG} "title")', [f"data:image/png;base64,{PNG} "]),
        (f"![a](<data:image/png;base64,{PNG}>)", [f"data:image/png;base64,{PNG}"]),
        (f"![a]({JPEG})", [JPEG]),
    ],
)
def test_markdown(text: str, expected: list[str]) -> None:
    """What stands in an image link is a candidate whatever it looks like; other links are not."""
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<img src="http://h.invalid/x">', ["http://h.invalid/x"]),
        ("<IMG alt='a' width=3\n src = 'x y'/>", ["x y"]),
        ("<img src=http://h.invalid/x>", ["http://h.invalid/x"]),
        ("<img data-src='no' srcset='no'>", []),
        ("<image src='no'> <img> src='no'", []),
        (f'<img src="data:image/png;base64,{PNG}" alt="data:">', [f"data:image/png;base64,{PNG}"]),
        ("<a href='http://h.invalid/full'> <img src=\"t\"></a>", ["http://h.invalid/full"]),
        ("<A class=b HREF=http://h.invalid/full target=c><IMG src='t'/></A>", ["http://h.invalid/full"]),
        ("<a href='http://h.invalid/page'>page</a> <img src='x'>", ["x"]),
        ("<p><img alt='![a](b)' src='x'></p>", ["x"]),
        ("&lt;img src=&quot;http://h.invalid/x.png&quot;&gt;", ["http://h.invalid/x.png"]),
    ],
)
def test_image_tags(text: str, expected: list[str]) -> None:
    """The source of an image tag, with any quotes."""
    assert [value for value in found(text) if value != "b"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://h.invalid/a.png.", ["https://h.invalid/a.png"]),
        ("(https://h.invalid/a_(1).JPG?s=1)", ["https://h.invalid/a_(1).JPG?s=1"]),
        ("结果：https://h.invalid/a.webp，完成", ["https://h.invalid/a.webp"]),
        ("**https://h.invalid/a.jpeg**", ["https://h.invalid/a.jpeg"]),
        ("`https://h.invalid/a.gif`", ["https://h.invalid/a.gif"]),
        ("https://h.invalid/blob?rsct=image/png&sig=1", ["https://h.invalid/blob?rsct=image/png&sig=1"]),
        ("https://h.invalid/get?format=webp", ["https://h.invalid/get?format=webp"]),
        ("https://h.invalid/page https://h.invalid/a.png.html http:// ftp://h.invalid/a.png ://x.png", []),
        ("see https://h.invalid/?q=a.png", []),
        ("[https://h.invalid/a.png](https://h.invalid/a.png)", ["https://h.invalid/a.png"] * 2),
        ("[img]https://h.invalid/a.png[/img]", ["https://h.invalid/a.png"]),
        ("https://h.invalid/a.png,https://h.invalid/b.png", ["https://h.invalid/a.png", "https://h.invalid/b.png"]),
        ("\n https://h.invalid/x?sig=1 \n", ["https://h.invalid/x?sig=1"]),  # nothing but a URL is no prose
        ("https://h.invalid/x https://h.invalid/y", []),
        (f"DATA:IMAGE/PNG;BASE64,{PNG} and more", [f"DATA:IMAGE/PNG;BASE64,{PNG}"]),
        (f"Here: data:image/png;base64,{PNG}, done", [f"data:image/png;base64,{PNG}"]),
        ("data:text/plain, data: image", []),
        (PNG, [PNG]),
        (f"```\n{PNG}\n```", [PNG]),
    ],
)
def test_prose(text: str, expected: list[str]) -> None:
    """Bare URLs count only when they look like a picture; inline pictures always do."""
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"url":"https://h.invalid/x"}', ["https://h.invalid/x"]),
        ('```json\n{"images": [\n {"url" : "/x?a=1"}\n]}\n```', ["/x?a=1"]),
        ('{"image_url":{"url":"https:\\/\\/h.invalid\\/x\\u0026y"}}', ["https://h.invalid/x&y"]),
        ('Here {"image_url": "https://h.invalid/x"} is', ["https://h.invalid/x"]),
        ('{"b64_json":"' + PNG + '"}', [PNG]),
        ('![a](https://h.invalid/x) {"url":"https://h.invalid/page"}', ["https://h.invalid/x"]),
        ('{"url":"https://h.invalid/page"} ![a](https://h.invalid/x)', ["https://h.invalid/x"]),
        ('{"images":["https://h.invalid/x","https://h.invalid/y"]}', ["https://h.invalid/x", "https://h.invalid/y"]),
        ('Done: {"images":["https:\\/\\/h.invalid\\/x"]} !', ["https://h.invalid/x"]),
        ('["https://h.invalid/x"]', ["https://h.invalid/x"]),
        ('"{\\"images\\":[\\"https://h.invalid/x\\"]}"', ["https://h.invalid/x"]),
        ('{"edited":"https://h.invalid/x","source_url":"https://h.invalid/s"}', ["https://h.invalid/x"]),
        ('{"tool":{"arguments":{"link":"https://h.invalid/s"}}}', []),
        ('```json\n{"data":[{"b64_json":"' + PNG + '"}]}\n```', [PNG]),
        ('{"content":"![a](https:\\/\\/h.invalid\\/x)"}', ["https://h.invalid/x"]),
        ("https:\\/\\/h.invalid\\/x", ["https://h.invalid/x"]),
        ("see https:\\/\\/h.invalid\\/x.png\\n", ["https://h.invalid/x.png"]),
        (
            '{"prompt":"a","source_url":"https://h.invalid/s.png","images":["https://h.invalid/x"]}',
            ["https://h.invalid/x"],
        ),
        ('{"curl":"https://h.invalid/x", "url": 5, "url": "words", "url"', []),
    ],
)
def test_json_among_the_words(text: str, expected: list[str]) -> None:
    """A model that answers in JSON names its pictures there; pages named so do not count beside surer pictures."""
    assert found(text) == expected


def test_wrapped_base64_in_prose() -> None:
    """Base64 that is wrapped at one width goes on over line breaks; the sentence after it does not belong to it."""
    lines = [JPEG[start : start + 76] for start in range(0, len(JPEG), 76)]
    for end in ("\n", "\r\n"):
        (value,) = found(f"data:image/jpeg;base64,{end.join(lines)}{end}Done")
        assert clean_base64(value.partition(",")[2]) == JPEG
    (value,) = found(f"data:image/png;base64,{PNG}\nDone")
    assert value.endswith(PNG)


def test_words_between() -> None:
    """Candidates are cut out of the words, everything else stays."""
    words = read_words(f"a ![x](y) b <img src='z'/> c https://h.invalid/p d data:image/png;base64,{PNG} e")
    assert "".join(words.words) == "a  b  c https://h.invalid/p d  e"
    assert [text for _, text in visible_parts("a<think>b</think>c</think>d")] == ["a", "c", "d"]


MARKS = [
    *(
        "![",
        "](",
        ")",
        "(",
        "<img",
        'url"',
        'b64_json"',
        '":"',
        " src=",
        "'",
        '"',
        ">",
        "data:",
        "://",
        "http",
        "a",
        "\n",
        "[",
        "]",
        "\\",
    ),
    *("<think>", "</think>", "image/png;base64,", "iVBORw0KGgoAAAANSUhEUgAA"),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(MARKS), max_size=30).map("".join))
def test_any_words_are_read(text: str) -> None:
    """Marks in any order: no failure, and no character is both a candidate's and a word."""
    for offset, part in visible_parts(text):
        assert text[offset : offset + len(part)] == part
        words = read_words(part)
        assert sum(map(len, words.words)) + sum(len(candidate.value) for candidate in words.found) <= 2 * len(part)
        assert all(0 <= candidate.start < len(part) for candidate in words.found)


@pytest.mark.parametrize(
    "mark",
    [
        *("![", "![](", "](", "<img ", '<img src="', "data:", "data:image/png;base64,", "://", "![[[", "![a](b"),
        *("<think>", "</think>", "![a](<", "http://a/(", "<img src ", "![x](iVBORw0KGgoAAAANSUhEUgAA"),
        *(
            "<a ",
            "<a href='b'",
            "<a href=b><img ",
            "[![a](b)](",
            "[![a](b)](c",
            '{"',
            '[{"a":',
            '["a",{"url":"',
            ":\\/\\/",
        ),
        *('"url":"', '"url":"http://', '"b64_json":"iVBORw0KGgoAAAANSUhEUgAA', "![a](\n\n", '"image_url"'),
    ],
)
def test_no_mark_makes_it_slow(mark: str) -> None:
    """Marks that begin and never end cost time in proportion, not in its square."""

    def best(size: int) -> float:
        text = mark * (size // len(mark))
        times = []
        for _ in range(3):
            started = time.thread_time()
            for _, part in visible_parts(text):
                read_words(part)
            times.append(time.thread_time() - started)
        return min(times)

    assert best(1 << 15) < best(1 << 12) * 8 * 4 + 0.05
