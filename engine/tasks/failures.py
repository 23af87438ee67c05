"""What ended an attempt, as data that can be pickled, and as the error that it was."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from engine.errors import (
    AddressRefused,
    AnswerUnusable,
    ConsoleError,
    EditFailed,
    InvalidInput,
    NetworkFailed,
    PictureRejected,
    Problem,
    Stopped,
    StorageFailed,
    UpstreamRefused,
)


class Failure(msgspec.Struct, frozen=True):
    """What ended an attempt: an error of the tree in `errors`, as data. ``kind``: the name of its type."""

    kind: str
    problem: Problem
    retryable: bool = False
    retry_after: float | None = None
    http_status: int | None = None

    @staticmethod
    def of(error: ConsoleError) -> Failure:
        """The error as data."""
        if not isinstance(error, EditFailed):
            return Failure(type(error).__name__, error.problem)
        return Failure(type(error).__name__, error.problem, error.retryable, error.retry_after, error.http_status)

    @property
    def error(self) -> ConsoleError:
        """The error again, to be raised."""
        problem = self.problem
        if self.kind == Stopped.__name__:
            return Stopped()
        if self.kind in _FAILED:
            more = {"retryable": self.retryable, "retry_after": self.retry_after, "http_status": self.http_status}
            error = _FAILED[self.kind](problem.code, **more)
            error.params = problem.params  # may hold names that are attributes as well
            return error
        other = _OTHER.get(self.kind, ConsoleError)(problem.code, field=problem.field)
        other.params = problem.params
        return other


_FAILED: dict[str, Callable[..., EditFailed]] = {
    kind.__name__: kind for kind in (EditFailed, NetworkFailed, AddressRefused, UpstreamRefused, AnswerUnusable)
}
_OTHER = {kind.__name__: kind for kind in (InvalidInput, PictureRejected, StorageFailed)}
