"""Circuit breakers; pure. Of a run: when every task fails it pauses and tries one task at growing intervals. Of a door,
where there are several: when calls fail there it rests and is tried by one call, while the others go on."""

from __future__ import annotations

from engine.errors import Code

_AT_LEAST = 20  # tasks in a row; a handful may just be bad pictures
_FIRST_SECONDS, _LONGEST_SECONDS = 10.0, 600.0

# What goes wrong for every picture alike: the line, the key, the address, the gateway. Not what one picture causes.
LASTING = frozenset(
    {
        Code.ADDRESS_PRIVATE,
        Code.ADDRESS_FAKE_IP,
        Code.HOST_NOT_LISTED,
        Code.REDIRECT_REFUSED,
        Code.KEY_REFUSED,
        Code.ACCESS_REFUSED,
        Code.MODEL_UNKNOWN,
        Code.MODEL_UNSUITED,
        Code.ENDPOINT_UNKNOWN,
        Code.ANSWER_WEB_PAGE,
        Code.PARAMETER_REFUSED,
        Code.QUOTA_EXHAUSTED,
        Code.RECIPE_FOUND_NOTHING,
    }
)
"""What waiting does not mend: somebody must change the key, the address or the account."""
_PASSING = frozenset(
    {
        Code.CONNECT_FAILED,
        Code.CONNECTION_LOST,
        Code.TLS_FAILED,
        Code.PROXY_FAILED,
        Code.TIMED_OUT,
        Code.HOST_UNRESOLVABLE,
        Code.RATE_LIMITED,
        Code.UPSTREAM_STATUS,
        Code.UPSTREAM_ERROR,
        Code.ANSWER_EMPTY,
        Code.UPLOAD_FAILED,
        Code.JOB_FORGOTTEN,
        Code.JOB_UNREADABLE,
        Code.JOB_TIMED_OUT,
    }
)
DOOR_FAULTS = (_PASSING | LASTING | {Code.STREAM_CUT}) - {Code.RATE_LIMITED, Code.PARAMETER_REFUSED}
"""What speaks against the door at which a call was made, and not against the picture: another one may do."""
_CERTAIN = 3  # tasks in a row that met a web page, or a recipe that leads nowhere: no picture is to blame for that
_SURE = frozenset({Code.ANSWER_WEB_PAGE, Code.RECIPE_FOUND_NOTHING})
_COMMON = LASTING | _PASSING


class Breaker:
    """State of one run. Times in seconds of a monotonic clock. Not thread-safe.

    Closed: all tasks may start. Open: none until ``open_until``, then one at a time, and one that fails waits for its
    turn again. ``close`` closes it at a person's word, on probation: one at a time until one gets through.
    """

    def __init__(self, concurrency: int) -> None:
        self._threshold = max(_AT_LEAST, 2 * concurrency)
        self._in_a_row = 0
        self._interval = _FIRST_SECONDS
        self._probation = False
        self.reason: Code | None = None
        self.open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the run is paused."""
        return self.open_until is not None

    def wait(self, now: float, in_flight: int) -> float:
        """Seconds until the next task may start."""
        if not self.is_open and not self._probation:
            return 0.0
        if in_flight:
            return _LONGEST_SECONDS
        return max(0.0, (self.open_until or now) - now)

    def note(self, failure: Code | None, now: float) -> bool:
        """A task ended, None: it got through. True when the failure is the run's, so that the task runs again."""
        known, self._probation = self.is_open or self._probation, False
        if failure is None or failure not in _COMMON:
            self._in_a_row = 0
            self._interval = _FIRST_SECONDS
            self.open_until = None
            self.reason = None
            return False
        self._in_a_row += 1
        if self._in_a_row < (_CERTAIN if failure in _SURE else self._threshold):
            return False
        self.reason = failure
        self.open_until = now + self._interval
        if known:
            self._interval = min(self._interval * 2, _LONGEST_SECONDS)
        return known

    def close(self) -> None:
        """The person wants to go on now."""
        self._probation = self._probation or self.is_open
        self.open_until = None


_DOOR_FAILURES = 3  # calls in a row
_DOOR_FIRST, _DOOR_LONGEST = 5.0, 120.0


class DoorBreaker:
    """State of one door among several. Times in seconds of a monotonic clock. Not thread-safe.

    Closed: calls go. Open: none until the rest is over, then one; when that fails the rest is doubled, anything else
    closes it. ``reason``: why it is open.
    """

    def __init__(self) -> None:
        self.reason: Code | None = None
        self._in_a_row = 0
        self._rest = _DOOR_FIRST
        self._opened = 0.0
        self._until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the door rests, or one call tries it."""
        return self._until is not None

    def wait(self, now: float) -> float | None:
        """Seconds until a call may start; None: not before the one that tries it has ended."""
        if self._until is None:
            return 0.0
        return None if self._probing else max(0.0, self._until - now)

    def rest(self, now: float) -> float:
        """Seconds that it rests still."""
        return 0.0 if self._until is None else max(0.0, self._until - now)

    def start(self) -> None:
        """A call starts here."""
        self._probing = self.is_open

    def note(self, failure: Code | None, started: float, now: float, *, stopped: bool = False) -> None:
        """A call that started then is over, None: nothing speaks against the door."""
        mine = not self.is_open or started >= (self._until or 0.0)
        if stopped:
            self._probing = self._probing and not mine
        elif failure not in DOOR_FAULTS:
            self._in_a_row, self._rest, self._until, self._probing, self.reason = 0, _DOOR_FIRST, None, False, None
        elif self.is_open and mine:
            self._rest = min(self._rest * 2, _DOOR_LONGEST)
            self._open(failure, now)
        elif not self.is_open:
            self._in_a_row += 1
            if self._in_a_row >= _DOOR_FAILURES:
                self._open(failure, now)

    def open_up(self) -> None:
        """The person wants it to be tried now."""
        if self._until is not None:
            self._until = min(self._until, self._opened)

    def _open(self, failure: Code | None, now: float) -> None:
        self.reason, self._opened, self._until, self._probing = failure, now, now + self._rest, False
