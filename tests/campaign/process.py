"""One command in a process of its own, within limits, stopped on purpose or not; forked, so that nothing is imported again."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What a command may take beyond what its process has when it begins.
MEMORY = 3 << 30
#: Of that, resident: beyond it a command that ends well is a fault, too.
RESIDENT_MB = 1500.0
SECONDS = 90.0
#: What ``study check`` prints: a file, a line of it, and what is wrong there.
_MISTAKE = re.compile(r"\S+\.yaml:\d+: ")


@dataclass(frozen=True)
class Bounds:
    """What a command is held to.

    Attributes:
        seconds: of the clock.
        memory: bytes of address space beyond those of this process.
        file_bytes: of each file that it writes.
    """

    seconds: float = SECONDS
    memory: int = MEMORY
    file_bytes: int | None = None


@dataclass
class Ended:
    """How a command ended; ``faults``: what it must not have done."""

    code: int
    out: str
    err: str
    seconds: float
    peak_mb: float
    late: bool = False
    orphans: bool = False
    faults: list[str] = field(default_factory=list)

    def judge(self, *allowed: int) -> Ended:
        """Note what is neither a result nor a clean error."""
        said = [line for line in self.err.splitlines() if line.startswith("error: ")]
        trace = next((line for line in reversed(self.err.splitlines()) if line.strip()), "")
        if self.late:
            self.faults.append(f"not done within the time, after {self.seconds:.0f} s of processor")
        elif "Traceback" in self.err:
            self.faults.append(f"a trace: {trace[:160]}")
        elif self.code not in (0, 2, *allowed):
            self.faults.append(f"exit {self.code}: {trace[:160]}")
        elif self.code == 2 and len(said) != 1 and "Usage:" not in self.err and not _MISTAKE.match(self.out):
            self.faults.append(f"exit 2 with {len(said)} lines of error")
        if self.peak_mb > RESIDENT_MB:
            self.faults.append(f"{self.peak_mb:.0f} MB")
        if self.orphans:
            self.faults.append("processes were left running")
        return self


def run(
    arguments: Sequence[str],
    folder: Path,
    bounds: Bounds = Bounds(),
    stop: tuple[int, float] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run ``plait`` with these arguments in a folder.

    Args:
        arguments: of the command line.
        folder: where it works; what it prints goes to files beside it.
        bounds: what it is held to.
        stop: a signal, and after how many seconds it is sent: SIGINT to all of its processes, as a terminal does.
        environment: variables that are set besides.
    """
    process = Process(arguments, folder, bounds, environment)
    if stop is not None and not process.wait(stop[1]):
        process.send(stop[0], everyone=stop[0] == signal.SIGINT)
    return process.ended(bounds.seconds)


class Process:
    """A command that runs."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        bounds: Bounds = Bounds(),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """It begins at once."""
        self._base = _status_mb("VmRSS")
        number = sum(1 for _ in folder.parent.glob(f"{folder.name}.*.out"))
        self._files = [folder.parent / f"{folder.name}.{number}.{end}" for end in ("out", "err")]
        for file in self._files:
            file.touch()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _child(lambda: _command(arguments), folder, self._files, bounds, environment or {})
        self._watch = os.pidfd_open(self.pid)

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        poll = select.poll()
        poll.register(self._watch, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def send(self, number: int, everyone: bool = False) -> None:
        """Send it, or all that it started, a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number) if everyone else os.kill(self.pid, number)

    def ended(self, seconds: float) -> Ended:
        """Wait for its end, and for that of what it started."""
        late = not self.wait(seconds)
        if late:
            self.send(signal.SIGKILL, everyone=True)
        os.close(self._watch)
        _, status, used = os.wait4(self.pid, 0)
        out, err = (file.read_text("utf-8", "replace") for file in self._files)
        code = os.waitstatus_to_exitcode(status)
        peak = used.ru_maxrss / 1000 - self._base
        return Ended(code, out, err, used.ru_utime + used.ru_stime, peak, late, self._orphans())

    def _orphans(self) -> bool:
        for _ in range(50):
            try:
                os.killpg(self.pid, 0)
            except (ProcessLookupError, PermissionError):
                return False
            time.sleep(0.1)
        os.killpg(self.pid, signal.SIGKILL)
        return True


def _command(arguments: Sequence[str]) -> None:
    from plait.cli import main

    main(list(arguments))


def _child(
    work: Callable[[], Any], folder: Path, files: Sequence[Path], bounds: Bounds, environment: Mapping[str, str]
) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, file in zip((1, 2), files, strict=True):
            os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        space = int(_status_mb("VmSize") * 1e6) + bounds.memory
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        if bounds.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bounds.file_bytes, bounds.file_bytes))
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:  # noqa: BLE001 - what the campaign looks for
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024 / 1e6
