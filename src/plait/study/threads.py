"""How many threads compute: one for a run, so that its numbers are the same however many workers there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block torch and the libraries of numpy and scipy compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _controller().limit(limits=count):
            yield
    finally:
        torch.set_num_threads(before)
