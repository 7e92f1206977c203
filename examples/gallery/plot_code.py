"""Code: which package wrote this function?

Functions of Python's own library, read with `ast`; no download. Code has an encoder of its own that counts tokens and
looks at the syntax tree.
"""

# %%
import ast
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from plait import FusionClassifier, evaluate

ROWS = int(os.environ.get("PLAIT_EXAMPLE_ROWS", "500"))
home = Path(os.__file__).parent
rows = []
for package in ("asyncio", "email", "unittest", "xml"):
    for path in sorted((home / package).rglob("*.py")):
        if "test" in path.parts[-2:-1]:
            continue
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and len(node.body) > 2:
                rows.append((ast.get_source_segment(source, node), package))
table = pd.DataFrame(rows, columns=["function", "package"]).dropna().sample(frac=1, random_state=0)[:ROWS]

# %%
cut = len(table) * 2 // 3
schema = {"code": {"kind": "code", "columns": ["function"], "encoder": "code_statistics"}}
model = FusionClassifier(modalities=schema, members=2, store="none", progress=False)
model.fit(table[["function"]][:cut], table["package"][:cut])
judged = evaluate(model, table[cut:], y=table["package"][cut:])

# %%
confusion = judged.confusion
counts = pd.crosstab(table["package"][cut:], model.predict(table[cut:]), normalize="index")
figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
shown = axes.imshow(counts, cmap="BuGn", vmin=0, vmax=1)
axes.set(
    xticks=range(len(counts.columns)),
    xticklabels=counts.columns,
    yticks=range(len(counts)),
    yticklabels=counts.index,
    xlabel="answered",
    ylabel="true",
    title=f"accuracy {judged.metrics['accuracy']['value']:.2f}",
)
figure.colorbar(shown, label="share of the row")
figure.savefig("plot_code.png", dpi=110)
