"""What comes of answers while memory has no room for them: blocks of one file without a name, on the disk.

The file is there while anything lies in it. Whoever cannot write here must wait; that is the caller's to do.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from engine.files import storage_failure

BLOCK_BYTES: Final = 256 * 1024
MOST_BYTES: Final = 4 * 1024**3


class Spool:
    """One file for all answers of a process. Thread-safe. ``folder``: where it lies, None for the system's choice."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.folder: Path | None = None
        self._most = most // BLOCK_BYTES
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._free: list[int] = []
        self._blocks = 0

    @property
    def blocks_used(self) -> int:
        """Of ``BLOCK_BYTES`` each."""
        return self._blocks - len(self._free)

    def take(self) -> int:
        """A block for whoever gives it back. OSError where there is none."""
        with self._lock:
            if self._free:
                return self._free.pop()
            if self._blocks >= self._most:
                raise OSError("the spool is full")
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115 - see give_back
            self._blocks += 1
            return self._blocks - 1

    def give_back(self, block: int) -> None:
        """It may be written over; the last one takes the file with it."""
        with self._lock:
            self._free.append(block)
            if len(self._free) == self._blocks and self._file is not None:
                self._file.close()
                self._file, self._blocks = None, 0
                self._free.clear()

    def write(self, block: int, offset: int, data: memoryview) -> None:
        """Into a block that was taken. OSError."""
        with self._lock:
            assert self._file is not None
            self._file.seek(block * BLOCK_BYTES + offset)
            while data:
                data = data[self._file.write(data) :]

    def read(self, block: int, size: int) -> bytes:
        """The first ``size`` bytes of a block. OSError."""
        with self._lock:
            assert self._file is not None
            self._file.seek(block * BLOCK_BYTES)
            return self._file.read(size)


class Spooled:
    """The bytes of one answer, in the order in which they came; for one thread. ``size`` in bytes."""

    def __init__(self, spool: Spool) -> None:
        self.size = 0
        self._spool = spool
        self._blocks: list[int] = []

    def add(self, piece: bytes) -> bool:
        """Put it behind what is there; False where the disk does not take all of it, and then nothing was added."""
        size, rest = self.size, memoryview(piece)
        try:
            while rest:
                block, offset = divmod(size, BLOCK_BYTES)
                if block == len(self._blocks):
                    self._blocks.append(self._spool.take())
                part = rest[: BLOCK_BYTES - offset]
                self._spool.write(self._blocks[block], offset, part)
                size, rest = size + len(part), rest[len(part) :]
        except OSError:
            return False
        self.size = size
        return True

    def pieces(self) -> Iterator[bytes]:
        """All of it, once; each block is free for others before the next is read. StorageFailed."""
        blocks, self._blocks = self._blocks[::-1], []
        try:
            while blocks:
                size = min(self.size, BLOCK_BYTES)
                piece = self._read(blocks[-1], size)
                self._spool.give_back(blocks.pop())
                self.size -= size
                if piece:
                    yield piece
        finally:
            self._blocks = blocks

    def _read(self, block: int, size: int) -> bytes:
        try:
            return self._spool.read(block, size) if size else b""
        except OSError as error:
            raise storage_failure(error, self._spool.folder or Path(tempfile.gettempdir())) from error

    def close(self) -> None:
        """Give back what was not read."""
        while self._blocks:
            self._spool.give_back(self._blocks.pop())
