"""Image cells resized to one square."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image

from plait.data.media.images import image

#: A JPEG may be decoded smaller as long as its sides stay so many times the wanted ones.
_DRAFT = 2


def squeezed(cells: Sequence[Any], side: int) -> np.ndarray:
    """Decode cells and resize each, whole and whatever its shape: uint8 (n, side, side, 3).

    Pillow lets other threads run while it decodes and resizes, so as many work as torch may use.
    """
    result = np.empty((len(cells), side, side, 3), dtype=np.uint8)

    def fill(row: int) -> None:
        pixels = image(cells[row], _DRAFT * side)
        if pixels.shape[:2] != (side, side):
            pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        result[row] = pixels

    threads = min(torch.get_num_threads(), len(cells))
    if threads <= 1:
        for row in range(len(cells)):
            fill(row)
    else:
        with ThreadPoolExecutor(threads, thread_name_prefix="plait-decode") as pool:
            list(pool.map(fill, range(len(cells))))
    return result
