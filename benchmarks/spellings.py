"""Do trees gain from how words are spelled? Validation rows of real tables: ``python benchmarks/spellings.py [TABLE ...]``.

Histogram gradient boosting over the plain view of a table and 30 components of the text's embedding (MiniLM), 6,000 rows, without
and with components of the letter groups of categories, and with the short text columns as categories beside. A fifth of the rows
is left out as a test part; of the others 70 % train and 30 % judge, three seeds. Tables lie under ``PLAIT_DATA``.

``titles`` asks plait's default the same on a made table: 443 job titles that a user may move from the categories to the text.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_absolute_error, r2_score
from sklearn.preprocessing import TargetEncoder

from plait import FusionRegressor
from plait.base.registry import find
from plait.data import schema
from plait.encoders.embed import embed

ROOT, ROWS, SEEDS, FEW = Path(os.environ.get("PLAIT_DATA", "")), 6000, 3, 60
#: Table -> file, target, columns left out, short texts.
DEVICE, DRUG = (f"Name_of_Associated_Covered_{what}1" for what in ("Device_or_Medical_Supply", "Drug_or_Biological"))
TABLES: dict[str, tuple[str, str, list[str], list[str]]] = {
    "games": ("games/games.csv", "Global_Sales", [], ["Name"]),
    "payments": ("payments/payments.csv.gz", "status", [], [DEVICE, DRUG]),
    "petfinder": ("petfinder/petfinder.csv", "AdoptionSpeed", ["RescuerID"], ["Name"]),
}


def columns_of(train: Any, new: Any, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Numbers, small categories as they are, large ones by their cross-fitted target; the places of the small ones."""
    parts, places, at = [(train.numbers.numpy(), new.numbers.numpy())], [], train.numbers.shape[1]
    for i, levels in enumerate(train.levels):
        a, b = (view.codes[:, [i]].numpy() for view in (train, new))
        if levels <= FEW:
            places.append(at)
            parts.append(tuple(np.where(codes < 0, np.nan, codes) for codes in (a, b)))  # type: ignore[arg-type]
        else:
            encoder = TargetEncoder(random_state=seed)
            parts.append((encoder.fit_transform(a, y), encoder.transform(b)))
        at += parts[-1][0].shape[1]
    first, second = zip(*parts, strict=True)
    return np.hstack(first), np.hstack(second), places


def loss(x: np.ndarray, new: np.ndarray, places: list[int], y: np.ndarray, truth: np.ndarray, seed: int) -> float:
    """Log loss, or mean absolute error of a number."""
    options: dict[str, Any] = {"max_iter": 120, "learning_rate": 0.08, "max_leaf_nodes": 15, "min_samples_leaf": 10}
    options |= {
        "early_stopping": True,
        "validation_fraction": 0.12,
        "categorical_features": places,
        "random_state": seed,
    }
    if y.dtype.kind == "f":
        return float(mean_absolute_error(truth, HistGradientBoostingRegressor(**options).fit(x, y).predict(new)))
    return float(log_loss(truth, HistGradientBoostingClassifier(**options).fit(x, y).predict_proba(new)))


def compare(name: str) -> None:
    """Print the losses of one table."""
    file, target, left_out, texts = TABLES[name]
    frame = pd.read_csv(ROOT / file).drop(columns=left_out)
    frame = frame.sample(min(ROWS, len(frame)), random_state=0)
    y = frame.pop(target).to_numpy()
    y = np.log1p(y) if y.dtype.kind == "f" else pd.factorize(y, sort=True)[0]
    result = schema.infer(frame)
    types = {c: t for c, t in result.types.items() if c not in texts}
    written = [c for m in result.modalities if m.kind == "text" for c in m.columns]
    joined = frame[written].fillna("").agg("\n".join, axis=1).str[:400]
    vectors = embed(find("encoders", "minilm")(), [t if t.strip() else None for t in joined], None, name="text").x[:, 0]
    order = np.random.default_rng(99).permutation(len(frame))[: int(0.8 * len(frame))]
    losses: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        rows = np.random.default_rng(seed).permutation(order)
        train, new = rows[: int(0.7 * len(rows))], rows[int(0.7 * len(rows)) :]
        reduced = PCA(30, random_state=0).fit(vectors[train])
        beside = {**types, **dict.fromkeys(texts, "category")}
        for label, kinds, ngrams in (("without", types, 0), ("spelled", types, 30), ("and texts", beside, 30)):
            tabular = find("encoders", "tabular")(types=kinds, ngrams=ngrams).fit(frame[list(kinds)].iloc[train])
            views = [tabular.columns(frame[list(kinds)].iloc[part]) for part in (train, new)]
            a, b, places = columns_of(views[0], views[1], y[train], seed)
            a, b = np.hstack([a, reduced.transform(vectors[train])]), np.hstack([b, reduced.transform(vectors[new])])
            losses.setdefault(label, []).append(loss(a, b, places, y[train], y[new], seed))
    print(name, {label: f"{np.mean(v):.4f} ± {np.std(v):.4f}" for label, v in losses.items()}, flush=True)


JOBS = [
    "police officer",
    "bus operator",
    "librarian",
    "nurse",
    "fire fighter",
    "office coordinator",
    "program manager",
    "income specialist",
    "therapist",
    "crew chief",
    "budget analyst",
    "data engineer",
    "school warden",
    "transit planner",
    "chemist",
    "park ranger",
    "recycling inspector",
    "social worker",
    "mechanic",
    "plumber",
]
GRADES = {"trainee": -15, "I": -6, "II": 0, "III": 6, "senior": 14, "chief": 28}


def salaries(seed: int, rows: int = 1500) -> pd.DataFrame:
    """Pay by job, grade and years; titles as unevenly frequent as those of a town."""
    rng, own = np.random.default_rng(0), np.random.default_rng(seed)
    pay = {job: rng.normal(60, 15) for job in JOBS}
    kinds = [(j, g, u) for j in JOBS for g in GRADES for u in ("north", "south", "central", "county")][:443]
    share = 1 / np.arange(1, len(kinds) + 1) ** 0.7
    picked = rng.permutation(len(kinds))[own.choice(len(kinds), rows, p=share / share.sum())]
    years = own.integers(0, 30, rows)
    columns = {"title": ["{} {}, {}".format(*kinds[i]) for i in picked], "years": years}
    base = np.array([pay[kinds[i][0]] + GRADES[kinds[i][1]] for i in picked])
    return pd.DataFrame(
        {**columns, "sex": own.choice(["f", "m"], rows), "pay": base + 0.6 * years + own.normal(0, 3, rows)}
    )


def titles() -> None:
    """Print the R² of the default: titles as inferred, without their letters, and as a text."""
    whole, rest = ["title", "years", "sex"], {"kind": "tabular", "columns": ["years", "sex"]}
    plain = {
        "kind": "tabular",
        "columns": whole,
        "encoder": {"name": "tabular", "ngrams": 0, "types": {"title": "category"}},
    }
    read: dict[str, Any] = {"as inferred": None, "no letters": {"table": plain}}
    read["a text, by hand"] = {
        "title": {"kind": "text", "columns": ["title"], "encoder": "hashed_ngrams"},
        "table": rest,
    }
    scores: dict[str, list[float]] = {name: [] for name in read}
    for seed in range(SEEDS):
        frame = salaries(seed)
        y = frame.pop("pay").to_numpy()
        for name, modalities in read.items():
            model = FusionRegressor(modalities=modalities, random_state=seed, store="none", progress=False)
            answers = model.fit(frame[:1100], y[:1100]).predict(frame[1100:])
            scores[name].append(float(r2_score(y[1100:], answers)))
    print("titles", {name: f"{np.mean(v):.3f} ± {np.std(v):.3f}" for name, v in scores.items()}, flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for table in sys.argv[1:] or TABLES:
        titles() if table == "titles" else compare(table)
