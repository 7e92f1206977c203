"""Noise at test time: which modality holds, which does not

scikit-learn's digits as pictures, and a second, noisy opinion as a column of numbers. Conditions (`plait list
conditions`) change the pictures of the test rows by degrees.
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from plait import FusionClassifier, Modality, Schema
from plait.conditions.parse import parse

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "600"))
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))[:ROWS]
pictures = [(image * 15).astype(np.uint8) for image in digits.images[order]]
truth = digits.target[order]
opinion = truth + np.random.default_rng(1).normal(0, 1.2, ROWS)
table = pd.DataFrame({"picture": pictures, "opinion": opinion})

# %%
schema = Schema(
    (
        Modality("picture", "image", ("picture",), "pixel_statistics"),
        Modality("opinion", "tabular", ("opinion",)),
    )
)
cut = ROWS * 2 // 3
model = FusionClassifier(modalities=schema, members=2, store="none", progress=False)
model.fit(table[:cut], truth[:cut])

# %%
levels = [20, 10, 5, 0, -5, -10]
curves: dict[str, list[float]] = {"both": [], "picture alone": [], "opinion alone": []}
for level in levels:
    changed = parse(f"white_noise:picture:snr_db={level}", "example").apply(table[cut:], schema)
    outputs = model.predict_subsets(changed, [("picture", "opinion"), ("picture",), ("opinion",)])
    for name, answer in zip(curves, outputs.values(), strict=True):
        curves[name].append(float((model.classes_[answer.argmax(1)] == truth[cut:]).mean()))

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, values), colour in zip(curves.items(), ["#2a9d8f", "#e76f51", "#264653"], strict=True):
    axes.plot(levels, values, marker="o", label=name, color=colour)
axes.invert_xaxis()
axes.set(
    xlabel="signal to noise of the pictures, dB", ylabel="accuracy", title="Pictures drown, the other column stays"
)
axes.legend(frameon=False)
figure.savefig("plot_digits_noise.png", dpi=110)
