"""Branches: what predicts side by side, and how it is mixed

A table where part of the signal is a rule (trees find it), part lies in words (a network does). The leaderboard says
what each branch is worth on rows that it did not learn from.
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from plait import FusionClassifier

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "600"))
rng = np.random.default_rng(0)
age, visits = rng.integers(18, 90, ROWS), rng.poisson(4, ROWS)
mood = rng.choice(["thank you, very good", "never again, awful", "it was fine"], ROWS)
rule = ((age > 40) ^ (visits % 2 == 0)).astype(float)
score = 1.6 * rule + pd.Series(mood).map({"thank you, very good": 1.2, "never again, awful": -1.2}).fillna(0).to_numpy()
stays = np.where(score + rng.normal(0, 0.6, ROWS) > 0.8, "stays", "leaves")
text = [f"{m}, letter {i}" for i, m in enumerate(mood)]
table = pd.DataFrame({"age": age, "visits": visits, "letter": text})

# %%
schema = {
    "table": {"kind": "tabular", "columns": ["age", "visits"]},
    "letter": {"kind": "text", "columns": ["letter"], "encoder": "hashed_ngrams"},
}
model = FusionClassifier(modalities=schema, members=3, store="none", progress=False).fit(table, stays)
board = model.leaderboard_
print(board[["branch", "loss", "weight", "seconds"]] if "loss" in board else board)

# %%
shown = board[board.get("loss").notna()] if "loss" in board else board
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
left.barh(shown["branch"], shown["loss"] if "loss" in shown else shown["weights"], color="#2a9d8f")
left.set(xlabel="loss on rows not learned from", title="alone")
right.barh(shown["branch"], shown["weight"].fillna(0), color="#e9c46a")
right.set(xlabel="weight", title="in the mixture")
left.invert_yaxis()
figure.savefig("plot_branches.png", dpi=110)
