"""Which workers may be asked: those with our code, that see the folder which all share. The same for such that come
later, which are refused one by one while the others work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed import Client

from engine.cluster.messages import Facts
from engine.cluster.worker import facts, sees
from engine.errors import Code, Problem
from engine.files import write_bytes

Process = tuple[str, str]
"""A worker's process: its address, and its own folder, which another one at this address has not."""
log = logging.getLogger(__name__)


class Vetting:
    """What is known of workers. Thread-safe."""

    def __init__(self, shared: str, session: str, on_problem: Callable[[Sequence[Problem]], None]) -> None:
        """``shared``: the folder, "" for none; ``on_problem`` is told of each that is refused after the start."""
        self.own = facts()
        self._sign = Path(shared) / f"image-batch-console-{session}" if shared else None
        self._session = session
        self._on_problem = on_problem
        self._verdicts: dict[Process, Problem | None] = {}
        self._looking: threading.Thread | None = None

    def admitted(self, processes: Mapping[str, Process]) -> set[str]:
        """The addresses of those that may be asked."""
        known = self._verdicts
        return {name for name, process in processes.items() if process in known and known[process] is None}

    def refused(self, processes: Mapping[str, Process]) -> list[Problem]:
        """Why others may not."""
        return [verdict for process in processes.values() if (verdict := self._verdicts.get(process)) is not None]

    def begin(self, client: Client, processes: Mapping[str, Process]) -> None:
        """Look at those that are new, in a thread: one that does not answer keeps nobody waiting."""
        new = {name: process for name, process in processes.items() if process not in self._verdicts}
        if new and (self._looking is None or not self._looking.is_alive()):
            self._looking = threading.Thread(target=self._look, args=(client, new), name="cluster-vetting", daemon=True)
            self._looking.start()

    def look(self, client: Client, processes: Mapping[str, Process]) -> list[Problem]:
        """Look at workers now; why some are refused. Raises what Dask raises."""
        found: dict[str, Any] = client.run(facts, workers=list(processes), on_error="return")
        found = {name: fact for name, fact in found.items() if not isinstance(fact, OSError)}  # it went away meanwhile
        verdicts = {name: self._differs(name, other) for name, other in found.items()}
        alike = [name for name, problem in verdicts.items() if problem is None]
        if self._sign is not None and alike:
            verdicts |= self._not_shared(client, alike, self._sign)
        self._verdicts |= {processes[name]: problem for name, problem in verdicts.items()}
        return [problem for problem in verdicts.values() if problem is not None]

    def _look(self, client: Client, processes: Mapping[str, Process]) -> None:
        try:
            problems = self.look(client, processes)
        except Exception:  # the edge of a thread, and to other machines: they are looked at again
            log.info("workers could not be looked at", exc_info=True)
            return
        for problem in problems:
            log.warning("worker refused: %s %s", problem.code, problem.params)
        self._on_problem(problems)

    def _differs(self, name: str, other: object) -> Problem | None:
        """``other``: its facts, or the error for want of them."""
        if other == self.own:
            return None
        said = other if isinstance(other, Facts) else reason_of(other)
        return Problem(Code.CLUSTER_DIFFERS, {"own": str(self.own), "other": f"{name}: {said}"})

    def _not_shared(self, client: Client, workers: list[str], sign: Path) -> dict[str, Problem]:
        """Every worker must see the very folder that we see."""
        write_bytes(sign, self._session.encode())
        try:
            seen = client.run(sees, str(sign), self._session, workers=workers, on_error="return")
        finally:
            sign.unlink(missing_ok=True)
        blind = [name for name, one in seen.items() if one is not True]
        return {name: Problem(Code.CLUSTER_NOT_SHARED, {"worker": name, "path": str(sign.parent)}) for name in blind}


def reason_of(error: object) -> str:
    """The first line of what an error says."""
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
