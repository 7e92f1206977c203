"""Memory of this process and of others, from /proc where there is one."""

from __future__ import annotations

from pathlib import Path

from plait.records.memory import begin_stage, give_back, peak_mb, reset_peak, stage_mb

__all__ = ["available_mb", "begin_stage", "give_back", "peak_mb", "reset_peak", "resident_mb", "stage_mb"]

_MB = 1_000_000


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
