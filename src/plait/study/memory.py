"""Memory of this process and of others, from /proc where there is one."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_MB = 1_000_000


def reset_peak() -> None:
    """Let the peak begin anew, so that it is that of one run; where the system cannot, it stays that of the process."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Greatest resident memory of this process since ``reset_peak``, in MB."""
    found = _status("self", "VmHWM")
    if found is not None:
        return found
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB, 1)


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process in MB; None where the system does not tell."""
    return _status(str(pid), "VmRSS")


def available_mb() -> float | None:
    """Memory that new processes may take, in MB; None where the system does not tell."""
    return _read(Path("/proc/meminfo"), "MemAvailable")


def _status(process: str, field: str) -> float | None:
    return _read(Path("/proc") / process / "status", field)


def _read(path: Path, field: str) -> float | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == field:
            return round(int(rest.split()[0]) * 1024 / _MB, 1)
    return None
