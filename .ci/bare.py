"""The wheel without extras: it imports lightly, fits every base kind, saves, loads and predicts."""

import sys
import tempfile

import plait

assert "torch" not in sys.modules, "import plait must not import torch"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

rng = np.random.default_rng(0)
label = np.array(["low", "high"] * 30)
high = label == "high"
t = np.arange(8000) / 16000
table = pd.DataFrame(
    {
        "words": np.where(high, "a loud and shrill thing", "some quiet and deep thing"),
        "size": rng.normal(size=60) + high,
        "picture": [(rng.random((16, 16, 3)) * 60 + 120 * h).astype("uint8") for h in high],
        "sound": [np.sin(2 * np.pi * (800 if h else 200) * t).astype("float32") for h in high],
    }
)
modalities = {
    "text": {"kind": "text", "columns": ["words"]},
    "tabular": {"kind": "tabular", "columns": ["size"]},
    "image": {"kind": "image", "columns": ["picture"]},
    "audio": {"kind": "audio", "columns": ["sound"]},
}
model = plait.FusionClassifier(modalities=modalities, store="none").fit(table, label)
assert model.score(table, label) > 0.9, model.score(table, label)
with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/model")
    again = plait.load(f"{folder}/model")
assert np.array_equal(model.predict_proba(table), again.predict_proba(table))
print(
    f"bare install: {model.record_['trained_weights']:,} trained weights, encoders",
    {k: v["name"] for k, v in model.record_["encoders"].items()},
)
