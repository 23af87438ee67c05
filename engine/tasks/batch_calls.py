"""Talks with providers about their batches: makes the calls that a driver's steps ask for, hands on the notes between
them, and reads results as they arrive. Knows no task and no store.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from engine.errors import Code, NetworkFailed, UpstreamRefused
from engine.files import storage_failure
from engine.upstream.batches.steps import Ask, Driver, LineResult, Note, Place, Reply, Steps
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import status_failure
from engine.upstream.response import HttpResponse
from engine.upstream.retry import call_with_retries
from engine.upstream.sse import json_or_none
from engine.upstream.transport import Transport

T = TypeVar("T")
_READ_BYTES = 256 * 1024 * 1024  # an answer that is no file: a page of results may hold pictures
_FILE_BYTES = 16 * 1024**3
_LINE_BYTES = 128 * 1024**2  # ten results of 9 MB each
_ERROR_BYTES = 256 * 1024
_LONG_SECONDS = 3600.0  # for what may be gigabytes; a stalled line is found out by the transport
_PATIENT_TRIES = 3


class Spool:
    """The lines of a batch on disk while it is made; see `steps.Lines`. ``size`` in bytes. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = path.open("w+b")
            path.chmod(0o600)
        except OSError as error:
            raise storage_failure(error, path) from error

    def add(self, line: bytes) -> None:
        """Another line. Raises StorageFailed; it is not in there then."""
        try:
            self._file.seek(self.size)
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as error:
            raise storage_failure(error, self._path) from error
        self.size += len(line) + 1

    def read(self, start: int, length: int) -> bytes:
        """Some of its bytes."""
        self._file.seek(start)
        return self._file.read(max(0, min(length, self.size - start)))

    def __iter__(self) -> Iterator[bytes]:
        """Each line, without its end."""
        self._file.seek(0)
        left = self.size  # a line that the disk refused may stand behind
        for line in self._file:
            left -= len(line)
            if left < 0:
                return
            yield line.rstrip(b"\n")

    def close(self) -> None:
        """It is needed no more."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


class BatchCalls:
    """One talk at a time with one provider, ended by ``cancel``. ``clock_skew``: seconds by which the provider's clock
    is ahead of ours, None before it was told."""

    def __init__(self, transport: Transport, place: Place, cancel: CancelToken) -> None:
        self._transport = transport
        self._place = place
        self._cancel = cancel
        self.clock_skew: float | None = None

    def talk(self, steps: Steps[T], note: Callable[[Note], None] = lambda _: None) -> T:
        """The end of the steps. Raises what the transport raises, UpstreamRefused for an error status."""
        reply = Reply()
        try:
            step = next(steps)
            while True:
                if isinstance(step, Note):
                    note(step)
                    step = steps.send(Reply())
                    continue
                try:
                    reply = self._ask(step)
                except UpstreamRefused as error:
                    step = steps.throw(error)
                    continue
                step = steps.send(reply)
        except StopIteration as end:
            found: T = end.value
            return found

    def results(self, driver: Driver, provider_id: str, files: tuple[str, ...]) -> Iterator[LineResult]:
        """Every result that is there, as it arrives; from files, or page by page."""
        token, tokens = "", set[str]()
        while url := driver.results_url(self._place, provider_id, token):
            reply = self._ask(self._place.ask("GET", url))
            found, token = driver.read_page(reply.document)
            size = len(reply.body) // max(1, len(found))
            del reply
            yield from (msgspec.structs.replace(result, size=size) for result in found)
            if not token or token in tokens or len(tokens) + 1 >= driver.max_lines:  # pages without an end
                return
            tokens.add(token)
        for file in files:
            for line in self._lines(file):
                result = _read(driver, line)
                del line
                if result is not None:
                    yield result

    def _ask(self, ask: Ask) -> Reply:
        """One call; again where that does no harm, and where a refusal for crowding says that nothing was done."""
        config = self._place.config

        def once() -> Reply:
            try:
                return self._once(ask)
            except NetworkFailed as error:
                error.retryable &= ask.again
                raise
            except UpstreamRefused as error:
                error.retryable &= ask.again or error.http_status == 429
                raise

        return call_with_retries(
            once,
            max_retries=max(config.max_retries, _PATIENT_TRIES if ask.again else 0),
            interval=config.retry_interval,
            wait=self._cancel.wait,
            on_retry=lambda *_: None,
            random=random.random,
        )

    def _once(self, ask: Ask) -> Reply:
        config = self._place.config
        large = len(ask.request.body) > _ERROR_BYTES
        with self._transport.send(
            ask.request,
            proxy=config.proxy,
            unlocked=config.unlock_local_api_url,
            timeout=max(config.timeout_seconds, _LONG_SECONDS) if large else config.timeout_seconds,
            cancel=self._cancel,
        ) as response:
            self._heed(response, missing=ask.missing)
            headers = {name.lower(): value for name, value in response.headers.items()}
            self._compare_clocks(headers.get("date", ""))
            return Reply(response.status, headers, response.read(_READ_BYTES))

    def _compare_clocks(self, date: str) -> None:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            self.clock_skew = parsedate_to_datetime(date).timestamp() - time.time()

    def _heed(self, response: HttpResponse, *, missing: bool = False) -> None:
        if not (missing and response.status == 404) and response.status >= 400:
            body = response.read(_ERROR_BYTES)
            raise status_failure(response.status, response.headers, body, time.time())

    def _lines(self, url: str) -> Iterator[bytes]:
        """The lines of a file, however large it is; one that is larger than any answer is left out."""
        config, rest = self._place.config, b""
        with self._transport.ask(
            url,
            self._place.headers,
            proxy=config.proxy,
            unlocked=config.unlock_local_api_url,
            timeout=max(config.timeout_seconds, _LONG_SECONDS),
            cancel=self._cancel,
            max_bytes=_FILE_BYTES,
        ) as response:
            if response.status in (404, 410):
                raise UpstreamRefused(
                    Code.JOB_FORGOTTEN, http_status=response.status, id="", host=urlsplit(url).hostname or ""
                )
            self._heed(response)
            pieces, size = list[bytes](), 0
            for chunk in response.chunks():
                for number, part in enumerate(chunk.split(b"\n")):
                    if number:
                        yield _joined(pieces)
                        size = 0
                    size += len(part)
                    if size <= _LINE_BYTES:
                        pieces.append(part)
                    else:
                        pieces.clear()
            rest = _joined(pieces)
        if rest.strip():
            yield rest


def _joined(pieces: list[bytes]) -> bytes:
    """A line, which whoever gets it holds alone."""
    line = b"".join(pieces)
    pieces.clear()
    return line


def _read(driver: Driver, line: bytes) -> LineResult | None:
    """A result; None for a line that nobody can read: it is missing, and told so."""
    result = driver.read_line(json_or_none(line))
    return result if result is None else msgspec.structs.replace(result, size=len(line))
