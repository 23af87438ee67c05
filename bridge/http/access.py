"""Who may ask: Host, Origin, Sec-Fetch-Site and token, decided for every request before anything else happens; pure."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping

import msgspec

from bridge.environment import Environment, is_loopback
from bridge.http.instance import SHOW_PATH
from engine.errors import Code, InvalidInput, NotAllowed, NotAuthenticated, TooLarge

TOKEN_HEADER = "X-Access-Token"  # noqa: S105 - a name, not a secret
MAX_BODY_BYTES = 8 * 1024 * 1024
FORM_OVERHEAD_BYTES = 64 * 1024
UPLOAD_PATH_END = "/import"
PRESETS_PATH = "/api/presets/import"
_API = "/api/"
_PAGES = frozenset({"/", "/index.html"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "cf-connecting-ip")


class Request(msgspec.Struct, frozen=True):
    """What access is decided by. ``headers`` with lower-case names; ``token`` and ``pass`` of the query and the page's
    cookie, "" if none.

    ``takes_pass``: it asks for what a page loads without headers (a picture, the event stream, a file to keep).
    ``body_bytes``: length of the body, -1 when it is not known.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query_token: str = ""
    query_pass: str = ""
    cookie: str = ""
    takes_pass: bool = False
    body_bytes: int = 0


class Keys(msgspec.Struct, frozen=True):
    """What is given out in place of a token, each good for one thing only: none tells the token or another one.

    ``page``: for the cookie, which browsers send to every port of a host: the page and its static files, no data.
    ``script``: for the header that the page's own script sets. ``passing``: for addresses of what takes no header.
    """

    page: str
    script: str
    passing: str


def derived_keys(token: str) -> Keys:
    """The keys of a token."""
    secret = token.encode("utf-8", "replace")
    return Keys(*(hmac.new(secret, use, hashlib.sha256).hexdigest() for use in (b"page", b"script", b"pass")))


class Access:
    """The rules for one server, bound to ``settings.host`` and ``port``."""

    def __init__(self, environment: Environment, port: int, token: str) -> None:
        self._token = token
        self._keys = derived_keys(token)
        self.cookie_name = f"ibc_page_{port}"
        """Of this port alone: programs on other ports keep theirs."""
        self._max_upload = environment.max_preset_import
        self._open_to_network = not environment.loopback
        hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        if port == 80:
            hosts |= {"127.0.0.1", "localhost", "[::1]"}
        bound = f"[{environment.host}]" if ":" in environment.host else environment.host.lower()
        self._hosts = hosts | {f"{bound}:{port}"}
        self._port = port
        self._origins = frozenset(environment.allowed_origins or ()) | {f"http://{host}" for host in hosts}
        self._foreign_hosts = frozenset(origin.partition("://")[2] for origin in environment.allowed_origins)

    def check(self, request: Request) -> None:
        """NotAllowed or NotAuthenticated when the request must not go on."""
        host = request.headers.get("host", "").lower()
        if not self._knows_host(host):
            raise NotAllowed(Code.HOST_NOT_ALLOWED, value=host[:200])
        self._check_origin(request, host)
        if self._token and not self._goes_without_token(request) and not self._has_token(request):
            raise NotAuthenticated(Code.TOKEN_REQUIRED)
        if request.body_bytes and request.method not in ("GET", "HEAD", "OPTIONS"):
            check_content_type(request)
            self._check_length(request)

    def allowed_origin(self, headers: Mapping[str, str]) -> str | None:
        """The Origin to name in CORS headers: one that is allowed, else None."""
        origin = headers.get("origin", "").lower()
        return origin if origin and self._knows_origin(origin, headers.get("host", "").lower()) else None

    def first_visit(self, request: Request) -> Keys | None:
        """The keys to go on with, where the page was opened with the token in its address."""
        by_token = self._token and request.method == "GET" and request.path in _PAGES
        return self._keys if by_token and _same(request.query_token, self._token) else None

    def _knows_host(self, host: str) -> bool:
        if host in self._hosts or host in self._foreign_hosts:
            return True
        # Bound to the network: any literal address is this server's own; names could be rebound by a stranger.
        return self._open_to_network and _is_literal(host, self._port)

    def _knows_origin(self, origin: str, host: str) -> bool:
        return origin in self._origins or origin == f"http://{host}"

    def _check_origin(self, request: Request, host: str) -> None:
        origin = request.headers.get("origin")
        if origin is not None:
            if not self._knows_origin(origin.lower(), host):
                raise NotAllowed(Code.ORIGIN_NOT_ALLOWED, value=origin[:200])
            return
        site = request.headers.get("sec-fetch-site", "none").lower()
        if site in ("none", "same-origin"):
            return
        opens_page = (
            request.method in ("GET", "HEAD")
            and request.path in _PAGES
            and request.headers.get("sec-fetch-mode") == "navigate"
            and request.headers.get("sec-fetch-dest", "document") == "document"
        )
        if not opens_page:
            raise NotAllowed(Code.ORIGIN_NOT_ALLOWED, value=site)

    @staticmethod
    def _goes_without_token(request: Request) -> bool:
        # A preflight cannot carry a token and does nothing; a second start proves itself in another way.
        return request.method == "OPTIONS" or request.path == SHOW_PATH

    def _check_length(self, request: Request) -> None:
        limit, room = MAX_BODY_BYTES, 0
        if request.path.endswith(UPLOAD_PATH_END):
            room = FORM_OVERHEAD_BYTES
        if request.path == PRESETS_PATH:
            limit = self._max_upload
        if request.body_bytes > limit + room:
            raise TooLarge(Code.BODY_TOO_LARGE, limit=limit)

    def _has_token(self, request: Request) -> bool:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        header = request.headers.get(TOKEN_HEADER.lower(), "")
        offered = [
            (header, self._token),
            (header, self._keys.script),
            (bearer.strip() if scheme.lower() == "bearer" else "", self._token),
            (request.query_token, self._token),
        ]
        if not request.path.startswith(_API):
            offered.append((request.cookie, self._keys.page))
        elif request.takes_pass and request.method in ("GET", "HEAD"):
            offered.append((request.query_pass, self._keys.passing))
        return sum(_same(given, wanted) for given, wanted in offered) > 0  # every one is compared, in constant time


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def check_content_type(request: Request) -> None:
    """A body must be JSON (or an upload form where one is due): what a foreign page's form cannot send unasked.

    Plain clients may leave its type out; a browser says where it comes from, and must not.
    """
    browser = "origin" in request.headers or "sec-fetch-site" in request.headers
    if not browser and not request.headers.get("content-type"):
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    allowed = ("application/json", *(("multipart/form-data",) if request.path.endswith(UPLOAD_PATH_END) else ()))
    if kind not in allowed:
        raise InvalidInput(Code.CONTENT_TYPE_REFUSED, value=kind[:100])


def is_local(address: str, headers: Mapping[str, str]) -> bool:
    """Whether a client is on this machine: by its address, unless a tunnel says that it asks for somebody else.

    A tunnel that says nothing cannot be told from a client here. ``headers``: by lower-case name.
    """
    forwarded = any(name in headers for name in _FORWARDED)
    return not forwarded and is_loopback(address.removeprefix("::ffff:").partition("%")[0])


def _is_literal(host: str, port: int) -> bool:
    name, colon, number = host.rpartition(":")
    if not colon or (host.endswith("]") and port == 80):
        name, number = host, "80"
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return number == str(port)
