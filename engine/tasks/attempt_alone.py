"""One attempt as a value, for whoever makes it elsewhere: nobody watches, and what came goes with the outcome."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import msgspec

from engine.tasks.arrivals import Begun
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, Attempts, Picture
from engine.tasks.log import EditLog
from engine.upstream.cancel import CancelToken


class Left(msgspec.Struct, frozen=True):
    """An answer that came for whoever is there no more."""

    begun: Begun
    outcome: AttemptOutcome


class _Basket:
    """A watch that collects what comes, for whoever is elsewhere."""

    def __init__(self, log: EditLog, cancel: CancelToken) -> None:
        self.cancel = cancel
        self.log = log
        self.pictures: list[Picture] = []

    def began(self) -> None:
        """Nobody waits for it."""

    def answered(self) -> None:
        """Nobody waits for it."""

    def keep(self, picture: Picture) -> str:
        """Into the basket."""
        self.pictures.append(picture)
        return hashlib.sha256(picture.data).hexdigest()


def attempt_alone(
    order: AttemptOrder, attempts: Attempts, cancel: CancelToken, clock: Callable[[], float] = time.time
) -> AttemptOutcome:
    """The attempt as a value: pictures and log come with the outcome, which can be pickled and sent."""
    basket = _Basket(EditLog(*order.config.secrets, clock=clock), cancel)
    outcome = attempts.make(order, basket)
    return msgspec.structs.replace(outcome, pictures=basket.pictures, log=basket.log.entries)
