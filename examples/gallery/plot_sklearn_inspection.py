"""scikit-learn's inspection works on a model of mixed columns

`permutation_importance` and `PartialDependenceDisplay` take an estimator of plait as any other, beside plait's own
importance, which knows modalities.
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.inspection import PartialDependenceDisplay, permutation_importance

from plait import FusionRegressor

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "400"))
rng = np.random.default_rng(0)
table = pd.DataFrame(
    {
        "distance": rng.uniform(0, 10, ROWS),
        "rooms": rng.integers(1, 6, ROWS).astype(float),
        "street": rng.choice(["park road", "main street", "old lane"], ROWS),
        "said": [f"a flat with {w}, number {i}" for i, w in enumerate(rng.choice(["a view", "noise", "a lift"], ROWS))],
    }
)
rent = 300 + 200 * table["rooms"] - 60 * np.minimum(table["distance"], 5) + 150 * table["said"].str.contains("view")
rent = rent + rng.normal(0, 50, ROWS)

# %%
model = FusionRegressor(members=2, store="none", progress=False, encoders={"text": "hashed_ngrams"}).fit(table, rent)
shuffled = permutation_importance(model, table, rent, n_repeats=3, random_state=0)

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
axes[0].barh(table.columns, shuffled.importances_mean, xerr=shuffled.importances_std, color="#2a9d8f", capsize=3)
axes[0].set(title="permutation importance", xlabel="loss of R²")
PartialDependenceDisplay.from_estimator(model, table, ["distance", "rooms"], ax=axes[1:], grid_resolution=12)
figure.savefig("plot_sklearn_inspection.png", dpi=110)
