"""The form of URLs, the one writing of hosts, and the lists of allowed hosts."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import AddressRefused, Code
from engine.upstream.addresses import parse_address
from engine.upstream.netguard import NetPolicy, Purpose, check_target
from engine.upstream.target import host_matches, normalise_host, parse_url

OPEN = NetPolicy()


def refusal(url: str, policy: NetPolicy = OPEN, purpose: Purpose = Purpose.API) -> Code:
    """The code that a URL is refused with by its form or the list of hosts."""
    with pytest.raises(AddressRefused) as caught:
        check_target(parse_url(url), purpose, policy, unlocked=False)
    assert not caught.value.retryable
    return caught.value.code


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://api.openai.com/v1/images/edits", "https://api.openai.com/v1/images/edits"),
        ("HTTPS://API.OpenAI.com.:443/v1?x=1#part", "https://api.openai.com/v1?x=1"),
        ("http://example.com", "http://example.com/"),
        ("http://example.com?q=/@x", "http://example.com/?q=/@x"),
        ("http://example.com:8080/a%20b/图.png", "http://example.com:8080/a%20b/%E5%9B%BE.png"),
        ("https://cdn.test/x y.png", "https://cdn.test/x%20y.png"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://例え。テスト/", "https://xn--r8jz45g.xn--zckzah/"),
        ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ("http://ex%61mple.com/", "http://example.com/"),
        ("http://my_host.example/", "http://my_host.example/"),
        ("http://[2606:4700:0:0:0:0:0:1111]/", "http://[2606:4700::1111]/"),
        ("http://[::FFFF:127.0.0.1]:81/", "http://[::ffff:7f00:1]:81/"),
    ],
)
def test_good_urls_get_one_writing(url: str, normal: str) -> None:
    """Case, trailing dot, default port, IDN and percent-encoded hosts come out in one normal writing."""
    target = parse_url(url)
    assert target.url == normal
    assert parse_url(target.url) == target


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", Code.URL_MALFORMED),
        (" https://example.com/", Code.URL_MALFORMED),
        ("https://example.com/\n", Code.URL_MALFORMED),
        ("https://exam\tple.com/", Code.URL_MALFORMED),
        ("https://example.com/\x00", Code.URL_MALFORMED),
        ("https://example.com\\@evil.test/", Code.URL_MALFORMED),
        ("https:\\\\example.com/", Code.URL_MALFORMED),
        ("https:/example.com/", Code.URL_MALFORMED),
        ("https:example.com", Code.URL_MALFORMED),
        ("https://", Code.URL_MALFORMED),
        ("https:///path", Code.URL_MALFORMED),
        ("https://?q", Code.URL_MALFORMED),
        ("https://.", Code.URL_MALFORMED),
        ("https://a..b/", Code.URL_MALFORMED),
        ("https://example.com../", Code.URL_MALFORMED),
        ("https://-a.example/", Code.URL_MALFORMED),
        ("https://a b.example/", Code.URL_MALFORMED),
        ("https://a%00b.example/", Code.URL_MALFORMED),
        ("https://a%2Fb.example/", Code.URL_MALFORMED),
        ("https://a%40b.example/", Code.URL_MALFORMED),
        ("https://%ff.example/", Code.URL_MALFORMED),
        ("https://" + "a" * 64 + ".example/", Code.URL_MALFORMED),
        ("https://" + "a." * 140 + "example/", Code.URL_MALFORMED),
        ("https://example.com:/", Code.URL_MALFORMED),
        ("https://example.com:0/", Code.URL_MALFORMED),
        ("https://example.com:65536/", Code.URL_MALFORMED),
        ("https://example.com:-1/", Code.URL_MALFORMED),
        ("https://example.com:+80/", Code.URL_MALFORMED),
        ("https://example.com:８０/", Code.URL_MALFORMED),
        ("https://example.com:80:80/", Code.URL_MALFORMED),
        ("https://[::1/", Code.URL_MALFORMED),
        ("https://[::1]x/", Code.URL_MALFORMED),
        ("https://[fe80::1%25eth0]/", Code.URL_MALFORMED),
        ("https://[127.0.0.1]/", Code.URL_MALFORMED),
        ("https://::1/", Code.URL_MALFORMED),
        ("https://1.2.3.4.5/", Code.URL_MALFORMED),
        ("https://256.1.1.1/", Code.URL_MALFORMED),
        ("https://08.1.1.1/", Code.URL_MALFORMED),
        ("https://example.0x7f/", Code.URL_MALFORMED),
        ("https://4294967296/", Code.URL_MALFORMED),
        ("https://" + "9" * 5000 + "/", Code.URL_MALFORMED),
        ("https://example.com/" + "a" * 70000, Code.URL_MALFORMED),
        ("example.com/v1", Code.URL_SCHEME),
        ("localhost:8000/v1", Code.URL_SCHEME),
        ("//example.com/", Code.URL_SCHEME),
        ("ftp://example.com/", Code.URL_SCHEME),
        ("file:///etc/passwd", Code.URL_SCHEME),
        ("javascript:alert(1)", Code.URL_SCHEME),
        ("data:image/png;base64,AAAA", Code.URL_SCHEME),
        ("gopher://127.0.0.1/", Code.URL_SCHEME),
        ("https://user:secret@example.com/", Code.URL_CREDENTIALS),
        ("https://key@example.com/", Code.URL_CREDENTIALS),
        ("https://@example.com/", Code.URL_CREDENTIALS),
    ],
)
def test_bad_urls_are_refused_by_form(url: str, code: Code) -> None:
    """Each kind of bad URL has its code."""
    assert refusal(url) is code


def test_credentials_never_stand_in_the_refusal() -> None:
    """What stood before the @ is in no parameter."""
    with pytest.raises(AddressRefused) as caught:
        parse_url("https://user:hunter2@example.com/")
    assert "hunter2" not in repr((caught.value.params, caught.value))


@pytest.mark.parametrize(
    "written",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "127.000.000.001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7F.0x0.0x0.0x1",
        "0x7f000001",
        "0x0000000007f000001",
        "2130706433",
        "017700000001",
        "00000017700000001",
        "１２７．０．０．１",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "127%2e0%2e0%2e1",
        "%31%32%37.0.0.1",
        "%EF%BC%91%EF%BC%92%EF%BC%97.1",
        "0X7F.1",
        "127.0x1",
        "127.0.0.01",
    ],
)
def test_every_writing_of_loopback_is_read(written: str) -> None:
    """Decimal, octal, hexadecimal, short, full-width, circled and percent-encoded digits all mean 127.0.0.1."""
    assert normalise_host(written) == ("127.0.0.1", parse_address("127.0.0.1"))
    target = parse_url(f"http://{written}:8000/")
    with pytest.raises(AddressRefused) as caught:
        check_target(target, Purpose.DOWNLOAD, OPEN, unlocked=False)
    assert caught.value.code is Code.ADDRESS_PRIVATE
    check_target(target, Purpose.DOWNLOAD, OPEN, unlocked=True)


@pytest.mark.parametrize(
    ("written", "read"),
    [("010.0.0.1", "8.0.0.1"), ("1.2.3", "1.2.0.3"), ("0", "0.0.0.0"), ("0x", "0.0.0.0"), ("1.65535", "1.0.255.255")],
)
def test_numbers_are_read_as_inet_aton_reads_them(written: str, read: str) -> None:
    """A leading zero means octal and a last part fills what is left; what is sent is what was checked."""
    assert normalise_host(written) == (read, parse_address(read))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "printer.local",
        "metadata.google.internal",
        "router.home.arpa",
        "local\xadhost",
        "ｌｏｃａｌｈｏｓｔ",
        "loc%61lhost",
        "ⓛocalhost",
    ],
)
def test_names_of_the_local_network_are_refused_without_a_lookup(host: str) -> None:
    """Names reserved for this machine or network are refused as they stand, in every writing."""
    target = parse_url(f"http://{host}/")
    with pytest.raises(AddressRefused) as caught:
        check_target(target, Purpose.API, OPEN, unlocked=False)
    assert caught.value.code is Code.ADDRESS_PRIVATE
    check_target(target, Purpose.API, NetPolicy(allow_private_api=True), unlocked=False)


@pytest.mark.parametrize("host", ["localhost.example", "mylocalhost", "internal.example", "127.0.0.1.nip.io", "locale"])
def test_names_that_only_look_local_are_not_refused(host: str) -> None:
    """A name is judged by its ending, not by what is in it."""
    check_target(parse_url(f"http://{host}/"), Purpose.API, OPEN, unlocked=False)


LISTED = NetPolicy(
    api_hosts=("OpenAI.com.", "*.x.ai", ".example.org", "bücher.example", "8.8.8.8", "2606:4700::1111", "no host!"),
    download_hosts=("cdn.test",),
)


@pytest.mark.parametrize(
    "host",
    [
        "openai.com",
        "api.OPENAI.com.",
        "a.b.openai.com",
        "x.ai",
        "api.x.ai",
        "example.org",
        "a.example.org",
        "bücher.example",
        "www.xn--bcher-kva.example",
        "8.8.8.8",
        "0x8.0x8.0x8.0x8",
        "[2606:4700::1111]",
    ],
)
def test_listed_hosts_and_their_subdomains_pass(host: str) -> None:
    """A list entry stands for itself and its subdomains, in any writing; addresses stand for themselves."""
    check_target(parse_url(f"https://{host}/"), Purpose.API, LISTED, unlocked=False)


@pytest.mark.parametrize(
    "host", ["evilopenai.com", "openai.com.evil.test", "ai", "cdn.test", "8.8.8.9", "1.8.8.8.8.test"]
)
def test_hosts_beside_the_list_are_refused(host: str) -> None:
    """What only ends in the same letters is another host, and each purpose has its own list."""
    assert refusal(f"https://{host}/", LISTED) is Code.HOST_NOT_LISTED


def test_a_listed_address_is_still_private() -> None:
    """A list narrows what is allowed; it does not open the local network."""
    policy = NetPolicy(api_hosts=("127.0.0.1",))
    target = parse_url("http://127.0.0.1/")
    with pytest.raises(AddressRefused):
        check_target(target, Purpose.API, policy, unlocked=False)


@given(st.text(max_size=40))
@example("http://[")
@example("http://[::1]:")
@example("http://%")
@example("http://\u3002")
def test_any_text_is_either_normal_or_refused(text: str) -> None:
    """No text makes the reader fail in another way, and what it accepts it accepts again unchanged."""
    for url in (text, "http://" + text, f"http://{text}/", f"http://[{text}]/"):
        try:
            target = parse_url(url)
        except AddressRefused:
            continue
        assert target.host.isascii()
        assert target.path.isascii()
        assert parse_url(target.url) == target


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{0}", "0x{0:x}", "0{0:o}", "0X{0:08X}", "000{0:o}"]))
def test_whole_numbers_mean_the_same_address(value: int, form: str) -> None:
    """An address written as one number is the address."""
    parts = ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
    assert normalise_host(form.format(value)) == (parts, parse_address(parts))


def test_entries_that_are_no_hosts_match_nothing() -> None:
    """An entry that cannot be read never matches."""
    assert not host_matches("example.com", ("", "*", ".", "exa mple.com", "[", "http://example.com"))
