"""Google's speech embedding, which ships in the package openwakeword, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plait.base.errors import need
from plait.base.tokens import Tokens
from plait.encoders._options import package_file

WIDTH = 96
#: Seconds of silence before and after each sound. The network takes in 0.77 s at a time and wants to hear the beginning:
#: so a linear probe on spoken digits by unheard speakers (FSDD) gives 0.978, with the sound alone 0.62.
SILENCE = 0.5
LICENCE = (
    "code Apache-2.0; weights: Google's speech_embedding, Apache-2.0, but openwakeword, in which they ship, "
    "calls all its models CC BY-NC-SA 4.0"
)
_PACKAGE, _INSTALL = "openwakeword", "openwakeword==0.4.0"
_MEL = "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f"
_EMBEDDING = "ba754db3cd768a524c655ea90655ee5e6055a43b8dfd29366a11e93716ae9e51"
#: Frames (10 ms) of a window, and from one window to the next; windows computed at a time.
_WINDOW, _HOP, _TOGETHER = 76, 8, 128
#: Samples that give one window.
_SHORTEST = (_WINDOW + 3) * 160

WEIGHTS_ID = f"{_MEL} {_EMBEDDING}"


def windows(samples: int) -> int:
    """Tokens of a sound of so many samples."""
    return ((max(samples, _SHORTEST) // 160 - 3) - _WINDOW) // _HOP + 1


class SpeechEmbedding(nn.Module):
    """``wave`` int16 (B, samples) at 16 kHz and ``length`` (B, 1) -> a token of 96 numbers every 80 ms."""

    def __init__(self) -> None:
        """Load both networks."""
        super().__init__()
        self.mel = _session("resources/models/melspectrogram.onnx", _MEL)
        self.embedding = _session("resources/models/embedding_model.onnx", _EMBEDDING)

    def forward(self, batch: Mapping[str, Tensor]) -> Tokens:
        """Each row on its own, so that a batch never matters."""
        wave, length = batch["wave"].cpu().numpy(), batch["length"][:, 0].tolist()
        with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="plait-speech") as pool:
            rows = list(pool.map(lambda i: self._row(wave[i, : length[i]]), range(len(length))))
        x = torch.zeros(len(rows), max(map(len, rows), default=1), WIDTH)
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        for i, row in enumerate(rows):
            x[i, : len(row)], mask[i, : len(row)] = torch.from_numpy(row), True
        return Tokens(x, mask).to(batch["wave"].device)

    def _row(self, wave: np.ndarray) -> np.ndarray:
        filled = np.pad(wave, (0, max(0, _SHORTEST - len(wave)))).astype(np.float32)
        (mel,) = self.mel.run(None, {"input": filled[None]})
        frames = mel.reshape(-1, mel.shape[-1]) / 10 + 2  # as openwakeword scales them to Google's
        cut = np.lib.stride_tricks.sliding_window_view(frames, _WINDOW, axis=0)[::_HOP]  # (T, mel, window)
        parts = np.array_split(cut.transpose(0, 2, 1)[..., None], range(_TOGETHER, len(cut), _TOGETHER))
        result = [self.embedding.run(None, {"input_1": np.ascontiguousarray(part)})[0] for part in parts]
        return np.concatenate(result).reshape(len(cut), WIDTH)


def mean_and_max(tokens: Tokens) -> Tensor:
    """Mean and largest over the tokens: (B, 192)."""
    largest = tokens.x.masked_fill(~tokens.mask.unsqueeze(-1), -torch.inf).amax(1)
    return torch.cat([tokens.pooled(), largest], 1)


def _session(file: str, sha256: str) -> Any:
    runtime = need("onnxruntime", "audio")
    options = runtime.SessionOptions()
    # One row per thread of ours: ONNX Runtime's own threads spin while they wait, and slow down everything beside them.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = package_file(_PACKAGE, file, sha256, _INSTALL)
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
