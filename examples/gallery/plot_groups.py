"""Groups: rows of one person stay together

Several recordings of each speaker, and a target that belongs to the speaker. Mixed folds flatter; `GroupKFold` with
metadata routing hands the groups to the splitter and to the fit, so that plait's own folds keep them together, too.
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn
from sklearn.model_selection import GroupKFold, KFold, cross_validate

from plait import FusionClassifier

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "480"))
rng = np.random.default_rng(0)
speakers = ROWS // 12
speaker = np.repeat(np.arange(speakers), 12)
voice = rng.normal(0, 1, (speakers, 8))
side = np.where(voice[:, 0] + rng.normal(0, 1.5, speakers) > 0, "a", "b")
table = pd.DataFrame(voice[speaker] + rng.normal(0, 0.3, (len(speaker), 8))).add_prefix("f")
target = side[speaker]

# %%
model = FusionClassifier(members=2, epochs=10, store="none", progress=False)
with sklearn.config_context(enable_metadata_routing=True):
    routed = model.set_fit_request(groups=True)
    apart = cross_validate(routed, table, target, cv=GroupKFold(4), params={"groups": speaker}, error_score="raise")
mixed = cross_validate(model, table, target, cv=KFold(4, shuffle=True, random_state=0), error_score="raise")

# %%
figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for place, (name, result) in enumerate({"rows mixed": mixed, "speakers apart": apart}.items()):
    scores = result["test_score"]
    axes.bar(place, scores.mean(), yerr=scores.std(), color=["#e76f51", "#2a9d8f"][place], capsize=5)
    axes.text(place, 0.05, name, ha="center", color="white")
axes.set(ylabel="accuracy, 4 folds", xticks=[], title="A known voice is not a new one", ylim=(0, 1.05))
figure.savefig("plot_groups.png", dpi=110)
