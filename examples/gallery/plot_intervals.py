"""Amounts: a skewed target, and intervals that hold

Prices have a long tail. plait tries a logarithm on held-out training rows, and gives conformal intervals: how often
do they hold the truth, with everything present and without the text?
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from plait import FusionRegressor

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "600"))
rng = np.random.default_rng(0)
size = rng.uniform(20, 200, ROWS)
state = rng.choice(["to be renovated", "as it was built", "like new, with a garden"], ROWS, p=[0.3, 0.4, 0.3])
factor = (
    pd.Series(state).map({"to be renovated": 0.6, "as it was built": 1.0, "like new, with a garden": 1.7}).to_numpy()
)
price = np.exp(np.log(2000 * size * factor) + rng.normal(0, 0.25, ROWS))
note = [
    f"{s}, offer {i}, visits on {d}"
    for i, (s, d) in enumerate(zip(state, rng.choice(["monday", "friday"], ROWS), strict=True))
]
table = pd.DataFrame({"size": size, "note": note})

# %%
cut = ROWS * 2 // 3
schema = {
    "table": {"kind": "tabular", "columns": ["size"]},
    "note": {"kind": "text", "columns": ["note"], "encoder": "hashed_ngrams"},
}
model = FusionRegressor(modalities=schema, members=2, store="none", progress=False).fit(table[:cut], price[:cut])
print("the target was learned as:", model.record_["target_transform"])

# %%
test, truth = table[cut:], price[cut:]
figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for axes, seen, title in zip(panels, (test, test.assign(note=None)), ("everything", "without the note"), strict=True):
    low, high = model.predict_interval(seen, 0.9).T
    middle = model.predict(seen)
    held = np.mean((truth >= low) & (truth <= high))
    order = np.argsort(middle)
    axes.fill_between(
        np.arange(len(order)), low[order], high[order], color="#2a9d8f", alpha=0.25, label="90 % interval"
    )
    axes.plot(middle[order], color="#2a9d8f", label="prediction")
    axes.plot(truth[order], ".", color="#264653", markersize=3, label="truth")
    axes.set(title=f"{title}: {100 * held:.0f} % inside", xlabel="test rows, by prediction", yscale="log")
panels[0].set_ylabel("price")
panels[0].legend(frameon=False)
figure.savefig("plot_intervals.png", dpi=110)
