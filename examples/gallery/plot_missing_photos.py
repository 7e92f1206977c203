"""Photos that are missing: what an absent modality costs

Generated products with a picture and a few words. The model is fitted once; then more and more pictures are taken
away at test time. Absence is part of training, so the answers fall back to the words.
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

from plait import FusionClassifier

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "600"))
rng = np.random.default_rng(0)
kinds = np.array(["mug", "lamp", "scarf"])
kind = rng.integers(0, 3, ROWS)
colours = np.array([[200, 60, 60], [60, 160, 70], [60, 80, 200]])


def picture(k: int) -> Image.Image:
    """A coloured picture with noise: it tells the kind in four of five cases."""
    shown = k if rng.random() < 0.8 else rng.integers(0, 3)
    pixels = np.clip(colours[shown] + rng.normal(0, 40, (24, 24, 3)), 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


words = [["hot drink", "bright light", "warm wool"][k if rng.random() < 0.7 else rng.integers(0, 3)] for k in kind]
notes = rng.choice(["sold in pairs", "new", "last one", "by hand"], ROWS)
text = [f"{w}, {n}, item {i}" for i, (w, n) in enumerate(zip(words, notes, strict=True))]
table = pd.DataFrame({"photo": [picture(k) for k in kind], "text": text})

# %%
train, test = table[: ROWS * 2 // 3], table[ROWS * 2 // 3 :]
truth = kinds[kind]
schema = {
    "photo": {"kind": "image", "columns": ["photo"], "encoder": "pixel_statistics"},
    "text": {"kind": "text", "columns": ["text"], "encoder": "hashed_ngrams"},
}
model = FusionClassifier(modalities=schema, members=2, store="none", progress=False).fit(train, truth[: len(train)])

# %% [markdown]
# A missing cell is `None`; nothing else has to be said.

# %%
shares, means = np.linspace(0, 1, 6), []
for share in shares:
    scores = []
    for seed in range(5):
        hidden = np.random.default_rng(seed).random(len(test)) < share
        seen = test.assign(photo=[None if h else p for h, p in zip(hidden, test["photo"], strict=True)])
        scores.append(model.score(seen, truth[len(train) :]))
    means.append((np.mean(scores), np.std(scores)))
middle, spread = np.array(means).T

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.errorbar(
    100 * shares, middle, spread, marker="o", color="#2a9d8f", capsize=3, label="one model, photos taken away"
)
axes.axhline(1 / 3, color="#555", linestyle=":", label="guessing")
axes.set(
    xlabel="photos that are missing, %", ylabel="accuracy", ylim=(0.2, 1), title="An absent photo costs what it knew"
)
axes.legend(frameon=False)
figure.savefig("plot_missing_photos.png", dpi=110)
