"""Sounds and a table: who is heard where

Generated tones of three instruments, with the room's noise, and a column that says how old a recording is. Sounds go
in as pairs of samples and rate; files, bytes and addresses would do as well.
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from plait import FusionClassifier, evaluate, explain

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "300"))
RATE = 16_000
rng = np.random.default_rng(0)
names = np.array(["flute", "reed", "string"])
kind = rng.integers(0, 3, ROWS)
time = np.arange(RATE // 2) / RATE


def tone(k: int) -> tuple[np.ndarray, int]:
    """Half a second: the instruments differ by their overtones."""
    pitch = rng.uniform(200, 500)
    weights = [[1, 0.1, 0.0, 0.0], [1, 0.0, 0.6, 0.0], [1, 0.7, 0.5, 0.3]][k]
    sound = sum(w * np.sin(2 * np.pi * pitch * (i + 1) * time) for i, w in enumerate(weights))
    return (sound + rng.normal(0, 2.0, len(time))).astype(np.float32), RATE


table = pd.DataFrame({"sound": [tone(k) for k in kind], "year": 1950 + 10 * kind + rng.integers(0, 40, ROWS)})

# %%
schema = {
    "sound": {"kind": "audio", "columns": ["sound"], "encoder": "logmel"},
    "year": {"kind": "tabular", "columns": ["year"]},
}
cut = ROWS * 2 // 3
model = FusionClassifier(modalities=schema, members=2, store="none", progress=False).fit(table[:cut], names[kind[:cut]])
judged = evaluate(model, table[cut:], y=names[kind[cut:]])
print(judged.subset_frame)

# %%
worth = explain(model, table[cut:], y=names[kind[cut:]]).frame["accuracy"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
left.specgram(table["sound"][0][0], Fs=RATE, cmap="magma")
left.set(title=f"a {names[kind[0]]}", xlabel="s", ylabel="Hz", ylim=(0, 4000))
error = [worth["value"] - worth["low"], worth["high"] - worth["value"]]
right.bar(worth.index, worth["value"], yerr=error, color=["#e9c46a", "#2a9d8f"], capsize=4)
right.set(title="worth of each modality", ylabel="accuracy that it adds (Shapley value)")
figure.savefig("plot_sounds.png", dpi=110)
