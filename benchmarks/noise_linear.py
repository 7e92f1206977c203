"""A tuned linear model of noisy pictures and sounds, beside the convolutional LSTM's pages: one more row of their tables."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from plait.base import registry
from plait.conditions.white_noise import WhiteNoise
from plait.encoders.pixels import Pixels
from plait.encoders.spectrogram import Spectrogram
from plait.study import Study

MODALITIES = ("image", "audio")
#: Penalties of the linear model (inverse strength); directions that are kept of pixels and of spectra.
PENALTIES, DIRECTIONS, STEPS = (0.001, 0.01, 0.1, 1.0), 60, 8


def linear_of(study: Study, seed: int, sample: Mapping[str, Any], about: dict[str, Any]) -> list[str]:
    """Both modalities, and each alone, trained at the sample's ratios and judged at its levels."""
    loaded = registry.find("datasets", "av_digits")(**study.spec.data[0].options, seed=seed).load()
    frame, schema = loaded.of("digit")
    parts = {name: frame[frame["split"] == name].reset_index(drop=True) for name in ("train", "valid", "test")}
    size = study.spec.model["encoders"]["image"]["size"]
    trained, *levels = [
        [math.inf if v == "orig" else float(v) for v in axis] for axis in (sample["trained"], *sample["levels"])
    ]
    encoders = (Pixels(size=size, channels=1), Spectrogram(stride=400))
    for name, encoder in zip(MODALITIES, encoders, strict=True):
        encoder.fit(list(_noisy(parts["train"], schema, name, trained[MODALITIES.index(name)], size)))
    features = {
        (part, place, level): _features(encoders[place], _noisy(parts[part], schema, name, level, size))
        for place, name in enumerate(MODALITIES)
        for part in parts
        for level in (levels[place] if part == "test" else (trained[place],))
    }
    result = []
    for subset in (MODALITIES, ("image",), ("audio",)):
        which = [MODALITIES.index(name) for name in subset]

        def joined(part: str, at: Sequence[float], which: Sequence[int] = which) -> list[np.ndarray]:
            return [features[part, place, at[place]] for place in which]

        model, penalty = _fitted(joined, {p: parts[p]["digit"] for p in parts}, trained)
        grid = [[model(joined("test", (a, b))) == parts["test"]["digit"] for b in levels[1]] for a in levels[0]]
        line = about | {"subset": "+".join(subset), "penalty": penalty, "levels": sample["levels"]}
        line |= {"trained": sample["trained"], "test_rows": len(parts["test"]), "weights": None}
        result.append(json.dumps(line | {"accuracy": np.mean(grid, axis=2).round(4).tolist()}))
    return result


def _noisy(frame: Any, schema: Any, name: str, level: float, size: int) -> Any:
    side: dict[str, Any] = {"side": size} if name == "image" else {}
    return WhiteNoise(modality=name, amplitude_ratio=level, **side).apply(frame, schema)[name]


def _features(encoder: Any, cells: Any) -> np.ndarray:
    """Pixels (n, size * size), or spectra averaged within ``STEPS`` equal parts of each sound."""
    prepared = encoder.prepare(list(cells))
    if "pixels" in prepared:
        return np.asarray(prepared["pixels"], np.float32).reshape(len(cells), -1)
    rows = []
    for frames, mask in zip(prepared["spectrogram"], prepared["mask"], strict=True):
        heard = frames[mask].astype(np.float32)
        ends = np.linspace(0, len(heard), STEPS + 1)
        spans = [(int(a), max(int(np.ceil(b)), int(a) + 1)) for a, b in itertools.pairwise(ends)]
        rows.append(np.concatenate([heard[a:b].mean(0) for a, b in spans]))
    return np.stack(rows)


def _fitted(joined: Any, digits: Mapping[str, Any], trained: Sequence[float]) -> tuple[Any, float]:
    """Reduced, then the penalty with the best accuracy on validation pairs."""
    reducers: list[Pipeline] = []
    for x in joined("train", trained):
        kept = min(DIRECTIONS, x.shape[1])
        reducers.append(make_pipeline(StandardScaler(), PCA(kept, random_state=0), StandardScaler()).fit(x))

    def reduced(blocks: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([r.transform(x) for r, x in zip(reducers, blocks, strict=True)], axis=1)

    best: tuple[float, float, Any] = (-1.0, 0.0, None)
    for penalty in PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=300).fit(reduced(joined("train", trained)), digits["train"])
        score = float(model.score(reduced(joined("valid", trained)), digits["valid"]))
        best = max(best, (score, penalty, model), key=lambda one: one[0])
    return lambda blocks: best[2].predict(reduced(blocks)), best[1]
