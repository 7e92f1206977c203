"""This machine: greatest memory of the process, whole and by stage (from /proc where there is one), its cores and devices."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import torch
from threadpoolctl import threadpool_info, threadpool_limits

from plait.base.errors import ConfigError

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
    peak = _in_proc("self/status", "VmHWM")
    return process_mb() if peak is None else peak


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_core_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads in which torch works on one core each; afterwards on as many as before. What still waits then is dropped."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads, "plait-core", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        finally:  # a second Ctrl-C ends the waiting
            torch.set_num_threads(cores)


class _Held:
    """How many blocks hold BLAS to one core, and what its libraries computed on before the first of them."""

    def __init__(self) -> None:
        self.lock, self.blocks = threading.Lock(), 0
        self.before: list[dict[str, object]] = []


_held = _Held()
if hasattr(os, "register_at_fork"):  # blocks of threads that a forked process does not have never end there
    os.register_at_fork(after_in_child=_held.__init__)  # type: ignore[misc]


def blas_on_one_core() -> AbstractContextManager[None]:
    """Within the block numpy multiplies matrices on one core: those of a fit are so small that more only wait."""
    return libraries_on(1, "blas")


@contextmanager
def all_on(cores: int) -> Iterator[None]:
    """Within the block torch and the libraries of numpy and scipy compute on so many cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        with libraries_on(cores):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def libraries_on(cores: int, api: str | None = None) -> Iterator[None]:
    """Within the block the libraries of numpy and scipy (``api``: of ``blas`` or ``openmp`` alone) compute on so many cores.

    A limit of BLAS is one of the process, and of several threads each would give back what the first has set: the last one
    to end gives back what was before all of them.
    """
    with _held.lock:
        if not _held.blocks:
            _held.before = [library for library in threadpool_info() if library["user_api"] == "blas"]
        _held.blocks += 1
    try:
        with threadpool_limits(cores, user_api=api):
            yield
    finally:
        with _held.lock:
            _held.blocks -= 1
            if not _held.blocks:
                set_cores(_held.before)


def set_cores(libraries: list[dict[str, object]]) -> None:
    """Let libraries compute on so many cores from now on, as ``threadpool_info`` describes them."""
    threadpool_limits(libraries)
    with threadpool_limits():  # by the end of a block this thread lets others set limits
        pass


def resident_mb(pid: int) -> float | None:
    """Resident memory of a process in MB; None where the system does not tell."""
    return _in_proc(f"{pid}/status", "VmRSS")


def available_mb() -> float | None:
    """Memory that new processes may take, in MB; None where the system does not tell."""
    return _in_proc("meminfo", "MemAvailable")


def _in_proc(file: str, field: str) -> float | None:
    try:
        lines = Path("/proc", file).read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith(f"{field}:")), None)
    return None if kilobytes is None else round(int(kilobytes) * 1024 / _MB, 1)


def process_mb() -> float:
    """Greatest resident memory of this process since it began, in MB; NaN where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB, 1)


DEVICES = ("auto", "cpu", "cuda")


def device_of(text: str) -> torch.device:
    """The device to train on: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one, else the CPU.

    Raises:
        ConfigError: an unknown name, or ``cuda`` where there is none.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    if text not in DEVICES:
        raise ConfigError(f"device {text!r}: expected one of {', '.join(DEVICES)}")
    if text == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device 'cuda': this torch sees no GPU; set device to auto or cpu, or install a torch built for CUDA"
        )
    return torch.device("cuda" if text != "cpu" and torch.cuda.is_available() else "cpu")


@cache
def cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX: without them torch emulates bf16, which is several times slower than float32."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(test()) for test in tests if test is not None)


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """``torch.bfloat16`` where the processor multiplies it natively, else ``torch.float32``.

    Example:
        >>> fast_dtype("meta")
        torch.float32
    """
    kind = torch.device(device).type
    if kind == "cpu":
        native = cpu_has_bf16()
    else:
        native = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device | str = "cpu") -> AbstractContextManager[None]:
    """Compute matrix products in ``fast_dtype``; what needs the range of float32 (norms, softmax) keeps it."""
    dtype = fast_dtype(device)
    kind = torch.device(device).type
    enabled = dtype != torch.float32
    return torch.autocast(kind if enabled else "cpu", dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch draws from this seed; after it the user's random state is as it was, on every device.

    Example:
        >>> before = torch.random.get_rng_state()
        >>> with seeded(1):
        ...     first = torch.rand(1)
        >>> bool((torch.random.get_rng_state() == before).all())
        True
    """
    gpus = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if gpus else []):
        if gpus:
            torch.manual_seed(seed)
        else:  # else a GPU that comes later would start from this seed
            torch.default_generator.manual_seed(seed)
        yield
