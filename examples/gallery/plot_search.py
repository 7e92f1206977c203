"""One space: pictures found by words

A `ModalityAligner` brings pictures and captions into one space; a few words then find pictures that were never
captioned.
"""

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from plait import ModalityAligner

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "400"))
rng = np.random.default_rng(0)
colours = {"red": (210, 60, 60), "green": (60, 170, 80), "blue": (60, 90, 210), "yellow": (230, 200, 60)}
shapes = ["circle", "square"]


def drawn(colour: str, shape: str) -> Image.Image:
    """One shape somewhere on grey."""
    picture = Image.new("RGB", (48, 48), tuple(int(v) for v in rng.integers(90, 150, 3)))
    x, y, size = (int(v) for v in (*rng.integers(2, 18, 2), rng.integers(22, 28)))
    draw = ImageDraw.Draw(picture)
    (draw.ellipse if shape == "circle" else draw.rectangle)((x, y, x + size, y + size), fill=colours[colour])
    return picture


words = [(rng.choice(list(colours)), rng.choice(shapes)) for _ in range(ROWS)]
table = pd.DataFrame({"picture": [drawn(*w) for w in words], "caption": [f"a {c} {s} on grey" for c, s in words]})

# %%
schema = {
    "picture": {"kind": "image", "columns": ["picture"], "encoder": "pixel_statistics"},
    "caption": {"kind": "text", "columns": ["caption"], "encoder": "hashed_ngrams"},
}
cut = ROWS * 3 // 4
aligner = ModalityAligner(modalities=schema, stage={"name": "cca", "components": 6}, store="none", progress=False).fit(
    table[:cut]
)
new = list(table["picture"][cut:])

# %%
queries = ["a red circle on grey", "a blue square on grey", "a yellow circle on grey"]
near = aligner.similarity({"caption": queries}, {"picture": new})
figure, axes = plt.subplots(len(queries), 7, figsize=(8, 3.6), layout="constrained")
for row, query in enumerate(queries):
    axes[row, 0].text(1, 0.5, query.removesuffix(" on grey"), ha="right", va="center")
    axes[row, 0].axis("off")
    for column, place in enumerate(np.argsort(-near[row])[:6], 1):
        axes[row, column].imshow(new[place])
        axes[row, column].axis("off")
figure.savefig("plot_search.png", dpi=110)
