"""Who holds a taken port: name and process id where the system tells; whether it is ours, `instance` proves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

_SECONDS = 3.0


class Holder(msgspec.Struct, frozen=True):
    """A process that listens on a port; empty name and pid 0 when the system does not tell."""

    name: str = ""
    pid: int = 0


def find_holder(port: int) -> Holder:
    """Looks in the system's tables; never touches the process."""
    pid = _pid_from_proc(port) if Path("/proc/net/tcp").exists() else _pid_from_tools(port)
    return Holder(_name_of(pid) if pid else "", pid)


def _pid_from_proc(port: int) -> int:
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: listening
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue  # somebody else's process, or gone meanwhile
    return 0


def _pid_from_tools(port: int) -> int:
    if os.name == "nt":
        for line in _run("netstat", "-ano", "-p", "TCP").splitlines():
            fields = line.split()
            if len(fields) >= 5 and fields[3] == "LISTENING" and fields[1].endswith(f":{port}"):
                return int(fields[4])
        return 0
    first = _run("lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-t").split()
    return int(first[0]) if first and first[0].isdigit() else 0


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        pass
    if os.name == "nt":
        return _run("tasklist", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH").split(",")[0].strip('"\r\n ')
    return _run("ps", "-p", str(pid), "-o", "comm=").strip()


def _run(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
