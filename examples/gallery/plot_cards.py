"""Cards: text, categories and numbers in one model

Hearthstone cards come by pip (`hearthstone-data`). Which class may play a card? One model is fitted on the card's
text and its table, judged on held-out cards, and asked what each modality is worth.
"""

# %%
import os

import matplotlib.pyplot as plt

from plait import fit_table
from plait.datasets.hearthstone_cards import HearthstoneCards

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "1000"))
cards = HearthstoneCards().load()
table = cards.frame.sample(ROWS, random_state=0)

# %% [markdown]
# `fit_table` holds out test rows, fits, judges, explains, and fits simple baselines on the same rows.

# %%
outcome = fit_table(table, cards.schemas["cardClass"], {"members": 2, "progress": False})
print(outcome.evaluation)

# %% [markdown]
# With only some modalities present: the same model, nothing is fitted again.

# %%
scores = outcome.evaluation.subset_frame
error = [scores["value"] - scores["low"], scores["high"] - scores["value"]]
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.barh(list(scores.index), scores["value"], xerr=error, color="#2a9d8f", capsize=3)
axes.axvline(outcome.baselines["majority"]["accuracy"], color="#555", linestyle=":", label="most frequent class")
axes.set(xlabel="accuracy on held-out cards", title="What the model sees of a card")
figure.legend(loc="outside lower right")
figure.savefig("plot_cards.png", dpi=110)
