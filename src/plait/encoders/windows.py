"""Long sounds and videos in windows, each through the same encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.checks import Count, Within
from plait.base.encoder import Encoder
from plait.base.errors import ConfigError, warn
from plait.base.tokens import Tokens
from plait.data.media.images import video
from plait.data.media.sounds import ARRAY_RATE, audio
from plait.encoders.defaults import default_encoder, encoder_of
from plait.encoders.packages import masked_max, mean_and_max
from plait.encoders.sound_frames import Heard

#: Frames of a window that are looked at, and the longer side that films are scaled down to while they are decoded (pixels).
_FRAMES, _AT_MOST = 5, 448
#: Name under which the number of windows of each cell travels.
_COUNT = "windows"


@dataclass(eq=False)
class Windows(Heard):
    """A long sound or video cut into windows; each is encoded by itself, and they are pooled or stay a sequence of tokens.

    Attributes:
        encoder: of a window: its name, ``{name: ..., option: ...}``, or a folder; empty takes the best for sound that is
            installed. It says whether cells are sounds or videos.
        window: seconds of sound.
        stride: seconds from one window to the next; None: they stand side by side. Sounds with gaps between windows, be it
            by a longer stride or by too few windows, are counted and warned of.
        windows: at most so many; of more, evenly spread ones. A video is parted into exactly so many, of five frames each.
        pool: ``mean_max`` (the mean beside the largest over the windows), ``mean`` or ``max`` give one token; ``none`` all of
            them in a row.
        max_seconds: only the beginning of longer sounds is heard.

    Formula: pool over w of encoder(x[w * stride : w * stride + window]); the last window ends where the sound ends.
    Shape: sounds or videos in, (n, 1, 2 D), (n, 1, D) or (n, W, D) out, D of the encoder inside.
    Source: the usual way to hear long recordings with networks for short ones, e.g. Kong et al. 2020, PANNs, section VI.
    Use when: sounds are much longer than what the encoder hears at a time, and what matters is somewhere in them.
    Not when: they are a few seconds long: the encoder alone hears all of it.
    """

    kinds: ClassVar[tuple[str, ...]] = ("audio", "video")
    licence: ClassVar[str] = "code Apache-2.0; weights as the encoder's inside"
    batch_size: ClassVar[int] = 8

    encoder: str | Mapping[str, Any] = ""
    window: Annotated[float, Within(0.05, 3600)] = 10.0
    stride: Annotated[float, Within(0.01, 3600)] | None = None
    windows: Count = 12
    pool: Literal["mean_max", "mean", "max", "none"] = "mean_max"
    max_seconds: Annotated[float, Within(0.05, 36_000)] = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"encoder {self.name()}, encoder"
        # Told by name from here on, so that a saved model does not change when another package is installed.
        self.encoder, self._inner = encoder_of(self.encoder or default_encoder("audio"), "audio", where)
        kinds = tuple(kind for kind in self.kinds if kind in self._inner.kinds)
        if not kinds or not self._inner.frozen or isinstance(self._inner, Windows):
            raise ConfigError(f"{where}: '{self._inner.name()}' is no frozen encoder of sounds or videos")
        vars(self)["kinds"] = kinds  # those of this one: a sound cannot be windowed by an encoder of videos

    def _cut(self, cell: Any) -> Iterator[Any]:
        """The windows of one cell, as cells."""
        if "video" in self.kinds:
            frames = video(cell, self.windows * _FRAMES, _AT_MOST)
            yield from np.split(frames, self.windows)
            return
        wave = audio(cell, ARRAY_RATE, self.max_seconds)
        yield from (wave[start : start + self._size] for start in self._starts(len(wave)))

    @property
    def _size(self) -> int:
        return max(1, round(self.window * ARRAY_RATE))

    def _starts(self, samples: int) -> np.ndarray:
        """Where the windows of a sound of so many samples begin."""
        step = max(1, round((self.stride or self.window) * ARRAY_RATE))
        last = max(0, samples - self._size)
        starts = np.unique(np.append(np.arange(0, last + 1, step), last))
        if len(starts) > self.windows:
            starts = starts[np.linspace(0, len(starts) - 1, self.windows).round().astype(int)]
        return starts

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        if "video" in self.kinds:
            return Encoder.lengths(self, cells)
        result = super().lengths(cells)
        gaps = sum(bool((np.diff(self._starts(ms * ARRAY_RATE // 1000)) > self._size).any()) for ms in result.tolist())
        if gaps:
            warn(
                f"{gaps:,} of {len(cells):,} sounds have parts that no window holds, which are never heard (encoder "
                f"'{self.name()}': window {self.window:g} s, stride {self.stride or self.window:g} s, {self.windows} windows "
                "at most); a stride up to the window, or more windows, hear all"
            )
        return result

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """What the encoder inside makes of the windows, each array (n, most windows, ...), and how many each cell has."""
        parts = [list(self._cut(cell)) for cell in cells]
        if not parts:
            return {}
        counts = np.array([len(part) for part in parts])
        flat = self._inner.prepare([window for part in parts for window in part])
        row, place = np.repeat(np.arange(len(parts)), counts), np.concatenate([np.arange(c) for c in counts])
        result = {_COUNT: counts[:, None].astype(np.int32)}
        for key, array in flat.items():
            result[key] = np.zeros((len(parts), counts.max(), *array.shape[1:]), array.dtype)
            result[key][row, place] = array
        return result

    def module(self) -> nn.Module:
        return _Windowed(self._inner.module(), self.pool)

    @property
    def dim(self) -> int:
        return self._inner.dim * (2 if self.pool == "mean_max" else 1)

    def weights_id(self) -> str:
        return self._inner.fingerprint()

    def state(self) -> dict[str, Any]:
        return self._inner.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._inner.load_state(state)


class _Windowed(nn.Module):
    def __init__(self, inner: nn.Module, pool: str) -> None:
        super().__init__()
        self.inner, self.pool = inner, pool

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        counts = batch[_COUNT][:, 0]
        most = int(counts.max())
        mask = torch.arange(most, device=counts.device)[None] < counts[:, None]  # (B, W)
        pooled = self.inner({k: array[:, :most][mask] for k, array in batch.items() if k != _COUNT}).pooled()
        x = pooled.new_zeros(*mask.shape, pooled.shape[1])
        x[mask] = pooled
        tokens = Tokens(x, mask)
        if self.pool == "none":
            return tokens
        if self.pool == "mean_max":
            return Tokens.of_vectors(mean_and_max(tokens))
        return Tokens.of_vectors(tokens.pooled() if self.pool == "mean" else masked_max(x, mask))
