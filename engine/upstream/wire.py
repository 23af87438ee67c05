"""Header fields of our requests: ours are set, those that would break the framing dropped, bad ones refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.errors import Code, InvalidInput
from engine.upstream.content import ACCEPT_ENCODING

Headers = list[tuple[bytes, bytes]]

USER_AGENT = "image-batch-console"
ACCEPT_PICTURES = "image/png, image/jpeg, image/webp, image/*;q=0.9, */*;q=0.5"

# Set by us or by the connection; a copy from outside could smuggle a second request or another host.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def request_headers(given: Mapping[str, str], length: int | None) -> Headers:
    """The fields of an API request with a body of ``length`` bytes, None for none. Values go out as UTF-8.

    Raises InvalidInput(FIELD_TYPE) for a name or value that HTTP cannot carry; the value is never repeated.
    """
    headers = {name.lower(): (name, value.strip()) for name, value in given.items() if name.lower() not in _OURS}
    for name, value in headers.values():
        if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
            field = "api_key" if name.lower() == "authorization" else "extra_headers"
            raise InvalidInput(Code.FIELD_TYPE, field=field, name=field)
    headers.setdefault("user-agent", ("User-Agent", USER_AGENT))
    headers.setdefault("accept", ("Accept", "*/*"))
    headers["accept-encoding"] = ("Accept-Encoding", ACCEPT_ENCODING)
    if length is not None:
        headers["content-length"] = ("Content-Length", str(length))
    return [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers.values()]


def download_headers() -> Headers:
    """The fields of a download: nothing that says who asks."""
    return request_headers({"Accept": ACCEPT_PICTURES}, None)
