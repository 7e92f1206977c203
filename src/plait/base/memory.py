"""Greatest memory of this process, whole and by stage, from /proc where there is one."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

_MB = 1_000_000
#: Greatest peak of the stages that ended since ``reset_peak``.
_ended = 0.0


def reset_peak() -> None:
    """Let the peak begin anew; where the system cannot, it stays that of the process."""
    global _ended
    _ended = 0.0
    _clear()


def peak_mb() -> float:
    """Greatest resident memory since ``reset_peak``, in MB."""
    return max(_ended, _now())


def begin_stage() -> None:
    """Let a stage's peak begin; that of the whole goes on."""
    global _ended
    _ended = max(_ended, _now())
    _clear()


def stage_mb() -> float:
    """Greatest resident memory since ``begin_stage``, in MB."""
    return _now()


def give_back() -> None:
    """Hand freed memory back to the system.

    Learning from sequences of many lengths leaves the C library's heap in pieces (glibc keeps them: 1.7 GB where 0.7 are
    used). Other C libraries have no such call and need none.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _clear() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _now() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / _MB, 1)
    except OSError:
        pass
    return process_mb()


def process_mb() -> float:
    """Greatest resident memory of this process since it began, in MB; NaN where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB, 1)
