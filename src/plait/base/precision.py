"""How torch computes: on which device, in which number type, from which random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import torch

from plait.base.errors import ConfigError

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
def _cpu_has_bf16() -> bool:
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
        native = _cpu_has_bf16()
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
