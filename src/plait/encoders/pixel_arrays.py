"""Pictures as arrays of one size: as plait makes them, and as a model's own processor does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from plait.base.errors import CellError, reason
from plait.data.media.images import image

#: A JPEG may be decoded smaller as long as its sides stay so many times what is needed.
_DRAFT = 4
#: A picture longer than so many times its width is not resized whole: a strip of 1 x 5000 would become gigabytes.
_LONGEST = 4
#: Levels of 255 by which our resizing may differ from the processor's in single pixels: both round.
_ROUNDING = 1.5


@dataclass(frozen=True)
class Pixels:
    """Resize, crop, scale and normalise, as a processor's settings say.

    Attributes:
        height: of what the network gets.
        width: of what the network gets.
        shortest: the shorter side is resized to this and the middle cut out; None resizes to height and width.
        resample: number of the filter in Pillow.
        mean: per channel, after scaling.
        std: per channel, after scaling.
        scale: what pixel values are multiplied by.
    """

    height: int
    width: int
    shortest: int | None
    resample: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255

    def resized(self, pixels: np.ndarray) -> np.ndarray:
        """Uint8 (H, W, 3) -> uint8 (height, width, 3)."""
        picture, method = Image.fromarray(pixels), Image.Resampling(self.resample)
        if self.shortest is None:
            return np.array(picture.resize((self.width, self.height), method))
        wide, high = picture.size
        full = (self.shortest * wide // min(wide, high), self.shortest * high // min(wide, high))
        left, top = (full[0] - self.width) // 2, (full[1] - self.height) // 2
        right, bottom = left + self.width, top + self.height
        if max(full) <= _LONGEST * self.shortest:
            return np.array(picture.resize(full, method).crop((left, top, right, bottom)))
        across, down = wide / full[0], high / full[1]  # the same but for rounding, of the part that stays alone
        box = (left * across, top * down, right * across, bottom * down)
        return np.array(picture.resize((self.width, self.height), method, box=box))

    def batch(self, cells: Sequence[Any]) -> np.ndarray:
        """Image cells -> uint8 (n, height, width, 3)."""
        enough = _DRAFT * max(self.height, self.width, self.shortest or 0)
        return np.stack([self.resized(image(cell, enough)) for cell in cells])

    def normalised(self, pixels: Tensor) -> Tensor:
        """Uint8 (B, H, W, 3) -> float (B, 3, H, W)."""
        x = pixels.permute(0, 3, 1, 2).float() * self.scale
        mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (x - mean) / std


def pixels_of(processor: Any) -> Pixels | None:
    """The steps of a processor of transformers, or None where they are not the usual ones.

    Settings mean different things in different processors, so the steps are tried on two pictures and must give what
    the processor gives.
    """
    size, crop = _sizes(getattr(processor, "size", None)), _sizes(getattr(processor, "crop_size", None))
    cropped = crop if getattr(processor, "do_center_crop", False) else size
    shortest = size.get("shortest_edge")
    height, width = (cropped.get(side) or shortest for side in ("height", "width"))
    if not getattr(processor, "do_resize", False) or not height or not width:
        return None
    if shortest is not None and min(height, width) > shortest:
        return None
    normalise, rescale = getattr(processor, "do_normalize", False), getattr(processor, "do_rescale", False)
    result = Pixels(
        int(height),
        int(width),
        int(shortest) if shortest else None,
        int(processor.resample),
        tuple(processor.image_mean) if normalise else (0.0, 0.0, 0.0),
        tuple(processor.image_std) if normalise else (1.0, 1.0, 1.0),
        float(processor.rescale_factor) if rescale else 1.0,
    )
    return result if all(_agree(result, processor, picture) for picture in _probes()) else None


def by_processor(processor: Any, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """What the processor itself makes of pictures: float32 (n, 3, H, W)."""
    try:
        result = processor(images=list(pictures), return_tensors="np", input_data_format="channels_last")
        return np.asarray(result["pixel_values"], dtype=np.float32)
    except Exception as error:
        raise CellError(f"the model's image processor refuses the picture ({reason(error)})") from error


def _sizes(value: object) -> dict[str, int]:
    """Sides that are told: a mapping in transformers 4, an object in 5."""
    result = value if isinstance(value, Mapping) else vars(value) if value is not None else {}
    return {name: result[name] for name in ("height", "width", "shortest_edge") if result.get(name)}


def _probes() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((53, 91, 3), (97, 60, 3))]


def _agree(ours: Pixels, processor: object, picture: np.ndarray) -> bool:
    theirs = by_processor(processor, [picture])[0]
    mine = ours.normalised(torch.from_numpy(ours.resized(picture)[None]))[0].numpy()
    if theirs.shape != mine.shape:
        return False
    level = ours.scale / np.array(ours.std).reshape(3, 1, 1)  # one of 255
    return bool((np.abs(theirs - mine) <= _ROUNDING * level + 1e-5).all())


#: A JPEG may be decoded smaller as long as its sides stay so many times the wanted ones.
_DRAFT_SQUARE = 2


def squeezed(cells: Sequence[Any], side: int) -> np.ndarray:
    """Decode cells and resize each, whole and whatever its shape: uint8 (n, side, side, 3).

    Pillow lets other threads run while it decodes and resizes, so as many work as torch may use.
    """
    result = np.empty((len(cells), side, side, 3), dtype=np.uint8)

    def fill(row: int) -> None:
        pixels = image(cells[row], _DRAFT_SQUARE * side)
        if pixels.shape[:2] != (side, side):
            pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        result[row] = pixels

    with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="plait-decode") as pool:
        list(pool.map(fill, range(len(cells))))
    return result
