"""How many calls at once, and how many a minute, a gateway takes: learned from what it refuses. Pure.

A gateway may bound two things, and its refusals (HTTP 429) rarely say which. They are learned apart:

- the *limit*, calls at once: falls to what was in flight when a call was refused, and is tried upwards by *probes*, the
  more rarely the more often that failed (additive increase with back-off);
- the *pace*, seconds between starts: learned from whole *cycles* (calls, refusal, pause, recovery), since a quota a
  minute only shows over a minute: so many calls taken in so long is what the gateway takes.

Which of the two a refusal is about is decided in ``refused``. A probe's is about room. Else by rate: it names a wait of
RATE_RETRY_AFTER or more; or it came while we were paced and below the limit; or with none in flight; or it is the
_IN_A_ROW-th with none taken on in between, and with clearly fewer in flight than went well of late. Else for want of
room. The row is there because calls are on their way for a while: what arrives there in a bunch is refused though fewer
were in flight when it left, and a pace learned from that would hold us back for long. A call is known to be taken on by
its answer, or as it was not refused in _DECIDED times as long as a refusal takes. Refusals of calls that were sent
before the last reaction tell nothing new and are only counted.

And a gateway may refuse some calls whatever we do: it shares out its calls among others, or is short for a moment. A
few such *whims* are borne. Where they are more, a pace is learned in vain: calls are refused at each pace alike. Then
pace and limit are forgotten, and as many refusals are borne as came then; a longer row of them, or a larger share, is
taken for a real bound again, and a pace that helps ends it.

    state        it means                       a call was taken                 refused for room       refused by rate
    -----------  -----------------------------  -------------------------------  ---------------------  ----------------
    steady       limit as known                 enough in a row: probing         limit = in flight,     recovering
                                                                                 later probes
    probing      limit raised by _probe_step    the probe, _CONFIRMED a step:    the probe: limit back, recovering
                                                steady, sooner and with a        later next time
                                                larger step next time
    recovering   pause until paused_until,      one sent after the pause: the    limit = in flight      pause doubled,
                 then one call at a time        cycle ends, the pace is set                             up to 12 s
    paced        a start each ``pace`` seconds  _FASTER_EVERY in a row: a little as steady              a little slower,
    (beside                                     faster, in larger steps well                            recovering
    the others)                                 beyond what was known; in the
                                                end unpaced

The fields of `AdaptiveLimit` by part: calls (``ceiling in_call calls refusals``); limit (``limit _since_probe
_probe_after _probing _probe_step _confirmed _sustained``); pauses (``paused_until _first_pause _pause _next_start
_reacted``); the row (``_in_a_row _undecided``); pace (``pace _recovering _cycle_start _cycle_accepted _cycle_refused
_since_faster _faster_step _known_pace``); whims (``_refused_share _whims _vain _vain_calls _vain_refused``). What the
numbers below achieve is held by ``tests/engine/tasks/test_limiter.py`` and ``test_doors.py``, and measured by ``python
-m tests.bench.limits`` and ``tests.bench.doors``.
"""

from __future__ import annotations

from collections import deque

import msgspec

# Starting
_RAMP_SECONDS = 0.4  # the first calls start spread over this time, so that a low limit refuses few of them
# The limit
_FIRST_PROBE = 24  # calls that must succeed before one more at once is tried
_LONGEST_PROBE = 40  # a failed probe is a refused call: at most one in forty
_CONFIRMED = 4  # probes that must go well for each call more at once: one alone may have met a gap
_BLUR = 2  # calls that may be counted as in flight here and have ended there, or the other way round
_RECENT_SECONDS = 60.0  # for so long the highest number at once that went well is remembered
_IN_A_ROW = 3  # refusals without a call that was taken on in between
_DECIDED = 2.5  # a call that is in flight for so many times as long as a refusal took is taken on
# Whims
_WHIMS = 0.04  # share of calls that any gateway may refuse without telling us anything by that
_WHIMS_MORE, _MOST_WHIMS = 0.2, 0.95  # added to a share that was seen over a few calls only
_SHARE_CALLS = 40  # the share of refused ones is that of about so many calls
_BY_CHANCE = 0.005  # a row of refusals that is less likely than this is none of whims
_HELPED = 48  # calls that go well in a row: the pace does help
_VAIN, _SMALL_QUOTA = 1.5, 4.0  # short cycles; half as many more where the pace is that of a quota of a few a minute
# Pauses
RATE_RETRY_AFTER = 2.0  # a wait this long is about a quota, not about calls at once: all wait
_LONGEST_PAUSE = 12.0
# The pace
_SLOWER = 1.04  # factor on the seconds between starts after a refusal by rate
_MOST_SLOWER = 4.0  # factor that one cycle may bring at most
_FASTER_STEP, _LARGEST_STEP = 0.015, 0.12  # share of speed tried on top; doubled well beyond what was known
_FASTER_EVERY = 12  # calls
_WELL_BEYOND = 0.85  # of the known seconds between starts
_IRRELEVANT_PACE = 0.002  # seconds between starts: the quota is far above what we ask


class Ticket(msgspec.Struct, frozen=True):
    """A call that was let through: when, how many others were in flight then, the how many-th it is."""

    started: float
    others: int
    probe: bool
    number: int


class AdaptiveLimit:
    """The policy of one run. Times in seconds of a monotonic clock. Not thread-safe.

    ``ceiling``: never more calls at once. ``first_pause``: seconds without calls after a refusal by rate that names no
    time; doubled while refusals go on.
    """

    def __init__(self, ceiling: int, first_pause: float = 1.5) -> None:
        self.ceiling = ceiling
        self.limit = ceiling
        self.in_call = 0
        self.pace: float | None = None
        self.paused_until = 0.0
        self.refusals = 0
        self.calls = 0
        self._next_start = 0.0
        self._reacted = -1.0
        self._since_probe = 0
        self._probe_after = _FIRST_PROBE
        self._probing = False
        self._probe_step = 1
        self._confirmed = 0
        self._in_a_row = 0
        self._refused_share = 0.0
        self._whims = _WHIMS
        self._vain, self._vain_calls, self._vain_refused = 0.0, 0, 0
        self._cycle_refused = 0
        self._undecided: dict[int, float] = {}  # calls sent since the row began: number → when
        self._sustained: deque[tuple[float, int]] = deque()
        self._first_pause = first_pause
        self._pause = first_pause
        self._cycle_start: float | None = None
        self._cycle_accepted = 0
        self._recovering = False
        self._since_faster = 0
        self._faster_step = _FASTER_STEP
        self._known_pace = 0.0

    def wait(self, now: float) -> float | None:
        """Seconds until a call may start: 0 for now; None: not before one in flight has ended."""
        if self.in_call >= self.limit:
            return None
        if self._recovering and self.in_call:
            return None  # after a refusal by rate one call goes first
        return max(0.0, self.paused_until - now, self._next_start - now)

    def start(self, now: float) -> Ticket:
        """Note a call that starts now."""
        if self._cycle_start is None:
            self._cycle_start = now
        spacing = self.pace or 0.0
        if self.pace is not None and now <= self._next_start + 0.25 * self.pace:
            self._since_faster += 1  # the pace is what held this call back
        if self.calls < self.ceiling:
            spacing = max(spacing, _RAMP_SECONDS / self.ceiling)
        self._next_start = max(now, self._next_start) + spacing if spacing else now
        self._next_start = min(self._next_start, now + spacing)
        probe = self._probing and self.in_call >= self.limit - self._probe_step
        ticket = Ticket(now, self.in_call, probe, self.calls)
        if self._in_a_row:
            self._undecided[ticket.number] = now
        self.in_call += 1
        self.calls += 1
        return ticket

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """The gateway took the call, whatever came of it."""
        self.in_call -= 1
        self._cycle_accepted += 1
        self._refused_share -= self._refused_share / _SHARE_CALLS
        if ticket.number in self._undecided:
            self._end_row()
        self._note_sustained(ticket.others + 1, now)
        if self._recovering and ticket.started >= self.paused_until:
            self._recover(now)
        self._pause = self._first_pause
        self._confirmed += ticket.probe and self._probing
        if self._probing and self._confirmed >= _CONFIRMED * self._probe_step:
            # More at once goes well: go on sooner and in larger steps, the gateway may have grown.
            self._probing = False
            self._probe_after = max(4, self._probe_after // 2)
            self._probe_step = min(self._probe_step * 2, max(1, self.limit // 2))
            self._since_probe = self._probe_after
        self._since_probe += 1
        self._grow()
        self._speed_up()

    def refused(self, ticket: Ticket, now: float, retry_after: float | None) -> None:
        """The gateway refused the call for there being too many."""
        self.in_call -= 1
        self.refusals += 1
        by_quota = retry_after is not None and retry_after >= RATE_RETRY_AFTER
        if by_quota and retry_after is not None:
            self.paused_until = max(self.paused_until, now + retry_after)
        self._undecided.pop(ticket.number, None)
        self._cycle_refused += 1
        if ticket.started <= self._reacted:
            return  # sent before the reaction to the same crowding took effect
        self._refused_share += (1 - self._refused_share) / _SHARE_CALLS
        taken_on = now - _DECIDED * (now - ticket.started)
        if any(started <= taken_on for started in self._undecided.values()):
            self._end_row()
        self._in_a_row += 1
        if ticket.probe and self._probing:
            self._reacted = now
            self._probing = False
            self.limit = max(1, self.limit - self._probe_step)
            self._probe_after = min(self._probe_after * 2, _LONGEST_PROBE)
            self._probe_step = 1
            self._since_probe = 0
            return
        if not by_quota and self._may_be_whim():
            return
        self._reacted = now
        below = self.pace is not None and ticket.others + 1 < self.limit  # paced, and not for want of room
        level = max(ticket.others, self.in_call)
        clearly = self._in_a_row >= _IN_A_ROW and level + _BLUR < self._sustained_level(now)
        if by_quota or below or clearly or ticket.others == 0:
            if below and not self._recovering:
                self.limit = max(1, ticket.others + 1)  # if it was for want of room after all, the next one shows it
            self._slow_down(now, retry_after)
        else:
            # One fewer than now; as many as were in flight where nothing is known of more.
            self.limit = max(1, min(self.limit, max(ticket.others, min(self._sustained_level(now), self.limit - 1))))
            self._since_probe = 0
            self._probing, self._probe_step = False, 1
            self._probe_after = min(max(self._probe_after * 2, _FIRST_PROBE), _LONGEST_PROBE)

    def open_up(self, now: float) -> None:
        """Forget pauses: the person wants to go on now."""
        self.paused_until = now
        self._next_start = now
        self._pause = self._first_pause

    # --- calls at once ---

    def _grow(self) -> None:
        if self.limit >= self.ceiling or self._probing or self._recovering or self._since_probe < self._probe_after:
            return
        if self.in_call < self.limit - 1:
            return  # the limit is not what holds us back
        self._probe_step = min(self._probe_step, self.ceiling - self.limit)
        self.limit += self._probe_step
        self._probing, self._confirmed = True, 0
        self._since_probe = 0

    def _end_row(self) -> None:
        self._in_a_row = 0
        self._undecided.clear()

    def _note_sustained(self, level: int, now: float) -> None:
        """Keep the highest numbers at once that went well of late, highest first (a monotonic queue)."""
        while self._sustained and self._sustained[-1][1] <= level:
            self._sustained.pop()
        self._sustained.append((now, level))
        while self._sustained and self._sustained[0][0] < now - _RECENT_SECONDS:
            self._sustained.popleft()

    def _sustained_level(self, now: float) -> int:
        while self._sustained and self._sustained[0][0] < now - _RECENT_SECONDS:
            self._sustained.popleft()
        return self._sustained[0][1] if self._sustained else 0

    # --- calls a minute ---

    def _slow_down(self, now: float, retry_after: float | None) -> None:
        if self.pace is not None and not self._recovering:
            self.pace *= _SLOWER
        if retry_after is None or retry_after < RATE_RETRY_AFTER:
            self.paused_until = max(self.paused_until, now + max(self._pause, retry_after or 0.0))
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._recovering = True
        self._since_faster = 0
        self._faster_step = _FASTER_STEP

    def _speed_up(self) -> None:
        """Try a shorter time between starts after some calls that went well."""
        if self.pace is None or self._recovering:
            return
        if self._since_faster < _FASTER_EVERY:
            return
        self._since_faster = 0
        self.pace /= 1.0 + self._faster_step
        if self.pace < _WELL_BEYOND * self._known_pace:  # the quota has grown: no need to feel the way any more
            self._faster_step = min(self._faster_step * 2, _LARGEST_STEP)
        if self.pace < _IRRELEVANT_PACE:
            self.pace = None  # the gateway's quota is far above what we ask

    def _recover(self, now: float) -> None:
        """A cycle of calls, refusal and recovery is over: so many calls in such a time is what the gateway takes."""
        self._recovering = False
        if self._slowing_is_vain():
            self._take_for_whims(now)
            return
        start = self._cycle_start if self._cycle_start is not None else now
        span = now - start
        if self._cycle_accepted > 1 and span > 1.0:
            seen = span / self._cycle_accepted
            self.pace = seen if self.pace is None else max(self.pace, min(seen, self.pace * _MOST_SLOWER))
            self._known_pace = self.pace
        self._begin_cycle(now)

    def _begin_cycle(self, now: float) -> None:
        self._cycle_start = now
        self._cycle_accepted = self._cycle_refused = 0

    # --- refusals that tell nothing ---

    def _may_be_whim(self) -> bool:
        """Whether so many refusals, and in such a row, come from a gateway that refuses some calls whatever we do."""
        if self._recovering or self._refused_share > self._whims:
            return False
        return self._whims**self._in_a_row > _BY_CHANCE

    def _slowing_is_vain(self) -> bool:
        """Whether cycle after cycle a few calls went well at a pace learned before, and then one was refused again."""
        if self.pace is None:
            return False
        self._whims = _WHIMS
        if self._cycle_accepted >= _HELPED:
            self._vain, self._vain_calls, self._vain_refused = 0.0, 0, 0
            return False
        self._vain += min(1.0, _FASTER_EVERY / (1 + self._cycle_accepted))
        self._vain_calls += self._cycle_accepted + self._cycle_refused
        self._vain_refused += self._cycle_refused
        return self._vain >= _VAIN * (1.0 if self.pace < _SMALL_QUOTA else 1.5)

    def _take_for_whims(self, now: float) -> None:
        """Go as fast as one may, and bear about as many refusals as there were however slowly we went."""
        self._refused_share = self._vain_refused / self._vain_calls
        self._whims = min(1.25 * self._refused_share + _WHIMS_MORE, _MOST_WHIMS)
        self._vain, self._vain_calls, self._vain_refused = 0.0, 0, 0
        self.pace, self.limit = None, self.ceiling
        self._begin_cycle(now)
