"""Worker processes on this machine, started once and fed until all is done."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from plait.base.errors import PlaitError
from plait.base.machine import available_mb, cores, resident_mb
from plait.study.engine import Engine, Event, Executor, Job, setting_from_dict, setting_to_dict
from plait.study.subjects import Finished
from plait.study.tables import Setting

#: Memory that a worker takes by itself; fewer are started where there is not so much.
WORKER_MB = 700.0
#: Variables by which libraries take their number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def worker_count(value: int | None, jobs: int) -> int:
    """Workers for so many jobs: one per core, fewer where memory is short."""
    if value is not None:
        if value < 1:
            raise PlaitError(f"--workers {value}: expected at least 1")
        return value
    room = available_mb()
    fitting = cores() if room is None else max(1, int(room // WORKER_MB))
    return max(1, min(cores(), jobs, fitting))


@dataclass
class _Process:
    """One worker."""

    process: subprocess.Popen[bytes]
    log: Path
    job: Job | None = None
    ready: bool = False
    reason: str | None = None
    failures: int = field(default=0)


class Local(Engine):
    """Processes that import everything once, with the cores divided among them."""

    def __init__(self, setting: Setting, workers: int, logs: Path) -> None:
        self.workers = workers
        self._threads = max(1, cores() // workers)
        self._setting = setting_to_dict(dataclasses.replace(setting, threads=self._threads))
        self._logs = logs
        self._queue: queue.Queue[tuple[int, subprocess.Popen[bytes], Any]] = queue.Queue()
        logs.mkdir(parents=True, exist_ok=True)
        self._processes = {number: self._start(number, 0) for number in range(workers)}

    def _start(self, number: int, failures: int) -> _Process:
        environment = {**os.environ, **dict.fromkeys(THREADS, str(self._threads)), "PLAIT_QUIET": "1"}
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        log = self._logs / f"worker-{os.getpid()}-{number}.log"
        command = [sys.executable, "-P", "-m", "plait.study.engine_local"]
        with log.open("ab") as errors:
            # A group of its own: Ctrl-C in the terminal is the runner's business, from the first import on.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                process_group=0 if os.name == "posix" else None,
            )
        _tell(process, self._setting)
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        return _Process(process, log, failures=failures)

    def _listen(self, number: int, process: subprocess.Popen[bytes]) -> None:
        while True:
            message = receive(cast(BinaryIO, process.stdout))
            self._queue.put((number, process, message))
            if message is None:
                cast(BinaryIO, process.stdout).close()
                return

    def idle(self) -> list[int]:
        return [number for number, worker in self._processes.items() if worker.ready and worker.job is None]

    def submit(self, worker: int, job: Job) -> None:
        self._processes[worker].job = job
        _tell(self._processes[worker].process, job)

    def events(self, seconds: float) -> list[Event]:
        """Results, and workers that have died; those are started anew."""
        result: list[Event] = []
        try:
            message = self._queue.get(timeout=seconds)
            while True:
                result += self._event(*message)
                message = self._queue.get_nowait()
        except queue.Empty:
            return result

    def _event(self, number: int, process: subprocess.Popen[bytes], message: Any) -> list[Event]:
        worker = self._processes[number]
        if worker.process is not process:
            return []  # the last word of one that was replaced
        if message is None:
            return self._died(number, worker)
        value, arrays = message
        if "ready" in value:
            worker.ready, worker.failures = True, 0
            return []
        job, worker.job = worker.job, None
        assert job is not None
        finished = Finished(value["line"], arrays, value["epochs"], value["trace"]) if "line" in value else None
        return [Event(number, job, finished, value["facts"])]

    def _died(self, number: int, worker: _Process) -> list[Event]:
        code = worker.process.wait()
        _close(worker.process)
        if not worker.ready and worker.reason is None and worker.failures >= 1:
            raise PlaitError(f"workers cannot start ({_ended(code)}): {_last(worker.log)}")
        failures = 0 if worker.ready else worker.failures + 1
        self._processes[number] = self._start(number, failures)
        if worker.job is None:
            return []
        return [Event(number, worker.job, died=worker.reason or _ended(code, worker.log))]

    def stop(self, worker: int, reason: str) -> None:
        self._processes[worker].reason = reason
        self._processes[worker].process.kill()

    def memory_mb(self, worker: int) -> float | None:
        return resident_mb(self._processes[worker].process.pid)

    def close(self) -> None:
        for worker in self._processes.values():
            worker.process.kill()
        for worker in self._processes.values():
            worker.process.wait()
            _close(worker.process)
            if worker.log.exists() and not worker.log.stat().st_size:
                worker.log.unlink()
        _sweep(self._logs)
        if self._logs.exists() and not any(self._logs.iterdir()):
            self._logs.rmdir()


def _tell(process: subprocess.Popen[bytes], value: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # it is dead; whoever reads its output hears of it
        send(cast(BinaryIO, process.stdin), value)


def _close(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):  # its output belongs to the thread that reads it
        cast(BinaryIO, process.stdin).close()


def _sweep(logs: Path) -> None:
    """Remove logs without a word of runners that were killed."""
    for log in logs.glob("worker-*.log"):
        runner = log.name.split("-")[1]
        if runner.isdecimal() and not _alive(int(runner)):
            with contextlib.suppress(OSError):
                if not log.stat().st_size:
                    log.unlink()


def _alive(pid: int) -> bool:
    """Whether a process runs; where asking would end it (Windows), it is taken to."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it is somebody else's
    return True


def _ended(code: int, log: Path | None = None) -> str:
    if code == -getattr(signal, "SIGKILL", 9):  # Windows has no such signal
        return "the worker was killed by the system or a user (signal 9: most often out of memory)"
    said = f": {_last(log)}" if log is not None and _last(log) else ""
    if code < 0:
        return f"the worker died of signal {-code} ({signal.Signals(-code).name}){said}"
    return f"the worker ended with code {code}{said}"


def _last(log: Path) -> str:
    """The last line that a worker wrote."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]


_HEAD = struct.Struct("<QQ")


def send(stream: BinaryIO, value: object, arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """One message.

    Example:
        >>> pipe = io.BytesIO()
        >>> send(pipe, {"a": 1}, {"x": np.zeros(2)})
        >>> _ = pipe.seek(0)
        >>> receive(pipe)
        ({'a': 1}, {'x': array([0., 0.])})
    """
    text = json.dumps(value, default=str).encode()
    held = io.BytesIO()
    if arrays:
        np.savez(held, **cast(dict[str, Any], arrays))
    stream.write(_HEAD.pack(len(text), held.tell()) + text + held.getvalue())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[Any, dict[str, np.ndarray]] | None:
    """The next message; None when the other end is gone."""
    head = _exactly(stream, _HEAD.size)
    if head is None:
        return None
    sizes = _HEAD.unpack(head)
    text, packed = _exactly(stream, sizes[0]), _exactly(stream, sizes[1])
    if text is None or packed is None:
        return None
    arrays: dict[str, np.ndarray] = {}
    if packed:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    return json.loads(text), arrays


def _exactly(stream: BinaryIO, size: int) -> bytes | None:
    parts, missing = [], size
    while missing:
        part = stream.read(missing)
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def main() -> None:
    """Serve until the runner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's business
    # Without buffers: the thread that waits for jobs would hold their lock when this process ends.
    jobs = cast(BinaryIO, os.fdopen(0, "rb", buffering=0, closefd=False))
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get between the messages
    try:
        _serve(jobs, results)
    except BaseException:  # noqa: BLE001 - whatever it is, it is told, and the runner hears of the end
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _serve(jobs: BinaryIO, results: BinaryIO) -> None:
    first = receive(jobs)
    if first is None:
        return
    waiting: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_listen, args=(jobs, waiting), daemon=True).start()
    worker = Executor(setting_from_dict(first[0]))
    send(results, {"ready": os.getpid()})
    while True:
        finished, facts = worker.do(waiting.get())
        options: dict[str, Any] = {"facts": facts}
        if finished is not None:
            options |= {"line": finished.line, "epochs": finished.epochs, "trace": finished.trace}
        send(results, options, finished.arrays if finished is not None else None)


def _listen(jobs: BinaryIO, waiting: queue.Queue[Any]) -> None:
    """When the runner dies, so does the worker, in the middle of a run: nobody would take its result."""
    while True:
        message = receive(jobs)
        if message is None:
            os._exit(0)
        waiting.put(message[0])


if __name__ == "__main__":
    main()
