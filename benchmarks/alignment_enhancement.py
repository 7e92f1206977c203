"""Enhancement by hardest negatives, as tables 4 to 6 of Wernlein et al.: each modality, each pair, all, with and without.

For each data set and target, and for several seeds, an estimator is fitted on each modality, each pair and all, as they
are and with one modality pulled towards the others (Pokemon, Hearthstone: tabular towards text and image; issues: code
towards text; MOSI: audio towards text). Where only the enhanced modality is used, its anchors are there when the
projector is trained and not when the classifier is, as in the paper's Tab^CL.

    PLAIT_DATA=... python benchmarks/alignment_enhancement.py --data pokemon --seeds 5 --out results/enhancement
    PLAIT_DATA=... python benchmarks/alignment_enhancement.py --data pokemon --effects --seeds 5 --out results/effects

``--design paper`` is one network of two blocks over all features; ``default`` is plait's estimator as it comes.
``--effects`` varies k, temperature, anchors, and joint against two-step training, on all modalities. Splits are 85/15 by
rows, or the official parts. A run that is already in ``OUT/<data set>.jsonl`` is skipped. Stand-ins are labelled
``(rebuilt)``: their results are no numbers on the original.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

from plait import FusionClassifier, registry
from plait.errors import PlaitWarning
from plait.schema import Schema
from plait.table import split

#: Data set -> (enhanced modality, its anchors).
PULLED = {
    "pokemon": ("tabular", ("text", "image")),
    "hearthstone": ("tabular", ("text", "image")),
    "issues": ("code", ("text",)),
    "mosi": ("audio", ("text",)),
}
DESIGNS: dict[str, dict[str, Any]] = {
    "paper": {"branches": ("joint",), "members": 1, "width": 256, "components": 4096, "modality_dropout": 0.0},
    "default": {},
}
EFFECTS: dict[str, dict[str, Any]] = {
    **{f"k = {k}": {"negatives": k} for k in (1, 3, 10, 30, 100)},
    **{f"temperature = {t}": {"temperature": t} for t in (0.02, 0.05, 0.1, 0.3, 1.0)},
    **{f"joint, weight {w}": {"joint": w} for w in (0.1, 0.3, 1.0, 3.0)},
    "own features kept": {"keep": True},
}


def cases(
    schema: Schema, pulled: str, anchors: tuple[str, ...], effects: bool
) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """(what it is called, modalities the classifier sees, ``align``)."""
    names = tuple(m.name for m in schema.modalities)
    whole = {"anchors": list(anchors)}
    if effects:
        yield "without", names, None
        yield "with", names, {pulled: whole}
        for anchor in anchors if len(anchors) > 1 else ():
            yield f"anchor {anchor} alone", names, {pulled: {"anchors": [anchor]}}
        for label, change in EFFECTS.items():
            yield label, names, {pulled: {**whole, **change}}
        return
    for size in range(1, len(names) + 1):
        for subset in itertools.combinations(names, size):
            yield "without", subset, None
            if pulled in subset:
                yield "with", subset, {pulled: whole}


def run(
    frame: pd.DataFrame,
    schema: Schema,
    seen: tuple[str, ...],
    align: Any,
    parts: tuple[Any, Any],
    seed: int,
    told: dict[str, Any],
) -> dict[str, Any]:
    """Fit and judge one model; anchors that the classifier does not see are there for the projector only."""
    train, test = (frame.iloc[rows].reset_index(drop=True) for rows in parts)
    target = str(schema.target)
    if align is not None and not set(next(iter(align.values()))["anchors"]) <= set(seen):
        return run_hidden(train, test, schema, seen, align, seed, told)
    schema = dataclasses.replace(schema, modalities=tuple(m for m in schema.modalities if m.name in seen))
    model = FusionClassifier(modalities=schema, task="classification", align=align, random_state=seed, **told)
    return judged(model.fit(train, train[target]), model, test, test[target])


def run_hidden(
    train: pd.DataFrame,
    test: pd.DataFrame,
    schema: Schema,
    seen: tuple[str, ...],
    align: Any,
    seed: int,
    told: dict[str, Any],
) -> dict[str, Any]:
    """The projector is trained with all modalities, its vectors are then an ordinary modality of a model without them."""
    ((pulled, options),) = align.items()
    names = tuple(m.name for m in schema.modalities)
    quick = {**told, "epochs": 1, "members": 1, "branches": ("joint",), "width": 16}
    pulling = FusionClassifier(
        modalities=schema, task="classification", align={pulled: options}, random_state=seed, **quick
    )
    pulling.fit(train, train[str(schema.target)])
    enhancer = pulling.enhancers_[pulled]
    kept = dataclasses.replace(
        schema, modalities=tuple(m for m in schema.modalities if m.name in seen and m.name != pulled)
    )
    moved = []
    for part in (train, test):
        store = pulling._opened_store()
        inputs = pulling.features_.transform(part, schema.root, store, strict=False, progress=False)
        if store is not None:
            store.close()
        vectors = enhancer(inputs.tokens[pulled])
        cells = [
            v if there else None for v, there in zip(vectors.pooled().numpy(), vectors.present.tolist(), strict=True)
        ]
        moved.append(part.assign(**{pulled: cells}))
    modalities: dict[str, Any] = {
        m.name: {"kind": m.kind, "columns": list(m.columns)} | ({"encoder": m.encoder} if m.encoder else {})
        for m in kept.modalities
    }
    modalities[pulled] = {"kind": "vector", "columns": [pulled]}
    model = FusionClassifier(modalities=modalities, task="classification", root=schema.root, random_state=seed, **told)
    columns = [c for m in modalities.values() for c in m["columns"]]
    target = str(schema.target)
    found = judged(model.fit(moved[0][columns], train[target]), model, moved[1][columns], test[target])
    found["weights"] += enhancer.record["trained_weights"]
    found["seconds"] += enhancer.record["seconds"]
    assert pulled in names
    return found


def judged(fitted: FusionClassifier, model: FusionClassifier, test: pd.DataFrame, truth: pd.Series) -> dict[str, Any]:
    """Accuracy, macro and weighted F1, and what the model cost."""
    answer = fitted.predict(test)
    seconds = model.record_["seconds"]
    return {
        "accuracy": float((answer == truth.to_numpy()).mean()),
        "f1_macro": float(f1_score(truth, answer, average="macro")),
        "f1_weighted": float(f1_score(truth, answer, average="weighted")),
        "weights": model.record_["trained_weights"],
        "seconds": seconds.get("align", 0.0) + seconds["scale"] + seconds["train"],
    }


def parts_of(loaded: Any, frame: pd.DataFrame, schema: Schema, seed: int) -> tuple[Any, Any]:
    """The official parts (validation rows go to training), or 85/15 by rows."""
    if loaded.split is not None:
        test = (frame[loaded.split] == "test").to_numpy()
        return np.flatnonzero(~test), np.flatnonzero(test)
    train, test = split(frame, (0.85, 0.15), seed, stratify=frame[schema.target])
    return train, test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=list(PULLED), choices=list(PULLED))
    parser.add_argument("--targets", nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--design", choices=list(DESIGNS), default="paper")
    parser.add_argument("--effects", action="store_true")
    parser.add_argument("--rows", type=int, help="a sample of so many rows, to try it")
    parser.add_argument("--store")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    told = parser.parse_args()
    warnings.simplefilter("ignore", PlaitWarning)
    told.out.mkdir(parents=True, exist_ok=True)
    for name in told.data:
        place = told.out / f"{name}.jsonl"
        if not told.table:
            measure(name, told, place)
        show(place)


def measure(name: str, told: argparse.Namespace, place: Path) -> None:
    """All runs of one data set that are not in the file."""
    dataset = registry.find("datasets", name)
    loaded = dataset().load()
    done = {line["key"] for line in map(json.loads, place.read_text().splitlines())} if place.exists() else set()
    settings = {**DESIGNS[told.design], "store": told.store, "progress": False}
    for target, seed in itertools.product(dataset.tasks, range(told.seeds)):
        if dataset.tasks[target] != "classification" or (told.targets and target not in told.targets):
            continue
        frame, schema = loaded.of(target)
        if told.rows and told.rows < len(frame):
            frame = frame.sample(told.rows, random_state=0).reset_index(drop=True)
        for label, seen, align in cases(schema, *PULLED[name], told.effects):
            key = f"{target}|{told.design}|{'+'.join(seen)}|{label}|{seed}"
            if key in done:
                continue
            start = time.perf_counter()
            found = run(frame, schema, seen, align, parts_of(loaded, frame, schema, seed), seed, settings)
            line = {"key": key, "data": dataset.label(), "target": target, "modalities": "+".join(seen), "way": label}
            line |= {
                "design": told.design,
                "seed": seed,
                "rows": len(frame),
                **found,
                "all_seconds": time.perf_counter() - start,
            }
            with place.open("a") as out:
                out.write(json.dumps(line) + "\n")


def show(place: Path) -> None:
    """Mean and standard deviation over the seeds."""
    groups = defaultdict(list)
    for line in map(json.loads, place.read_text().splitlines()):
        groups[line["data"], line["target"], line["design"], line["modalities"], line["way"]].append(line)
    print(f"{'modalities':28} {'way':24} seeds  accuracy        weighted F1     weights    seconds")
    before = None
    for (data, target, design, seen, way), lines in groups.items():
        if (data, target, design) != before:
            print(f"\n{data}, {target}, design {design}, {lines[0]['rows']:,} rows")
            before = (data, target, design)
        spread = [(np.mean([x[k] for x in lines]), np.std([x[k] for x in lines])) for k in ("accuracy", "f1_weighted")]
        cost = [np.mean([x[k] for x in lines]) for k in ("weights", "seconds")]
        shown = "  ".join(f"{m:.3f} +- {s:.3f}" for m, s in spread)
        print(f"{seen:28} {way:24} {len(lines):5}  {shown}  {cost[0]:9,.0f}  {cost[1]:7.1f}")


if __name__ == "__main__":
    main()
