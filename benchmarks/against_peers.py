"""plait against CatBoost, LightGBM, TabM, skrub and AutoGluon Tabular: same rows, same splits, same embeddings.

    pip install -e ".[text,image,audio,parquet,report,bench]"
    PLAIT_DATA=... python benchmarks/against_peers.py --out runs/peers    # Ctrl-C any time: the same command goes on
    PLAIT_DATA=... python benchmarks/against_peers.py --out runs/peers --systems plait lightgbm --tables pokemon --seeds 1
    python benchmarks/against_peers.py --out runs/peers --page docs/evidence/peers.md   # only the page, from what is there
    python benchmarks/against_peers.py --out runs/unseen --unseen    # tables that plait never saw: see unseen.py; no PLAIT_DATA

One line of ``results.jsonl`` per table, seed and system. Tables are all data sets that have a target, at most ``--rows`` rows of
each (drawn once, seed 0); 80 % of the rows are learned from, groups kept together; av_digits keeps its official parts, and each
seed draws its pairs anew. Of movies the question is whether a film is a drama. What each system is given: ``peers.py``. Seconds
are of fitting and of answering, embeddings left out on all sides; of the clock, and of the processor while fitting. Runs at the
lowest priority.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: data set, target, what is asked of it; the first target of each data set counts in the ranks.
TABLES: dict[str, tuple[str, str]] = {
    "pokemon": ("pokemon", "type_1"),
    "hearthstone": ("hearthstone", "cardClass"),
    "petfinder": ("petfinder", "AdoptionSpeed"),
    "games": ("games", "Global_Sales"),
    "payments": ("payments", "status"),
    "movies": ("movies", "drama"),
    "issues": ("issues", "label"),
    "mosi": ("mosi", "score"),
    "mrpc": ("mrpc", "paraphrase"),
    "stsb": ("stsb", "score"),
    "esc10": ("esc10", "label"),
    "av_digits": ("av_digits", "digit"),
    "cifar10": ("cifar10", "label"),
    "hearthstone_race": ("hearthstone", "race"),
    "petfinder_speed": ("petfinder", "speed"),
    "mosi_binary": ("mosi", "binary"),
}
RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Table:
    """Rows, schema, embeddings of one table; the split of each seed is drawn from it."""

    frame: Any
    schema: Any
    groups: Any
    official: Any
    embeddings: Any


def read(name: str, seed: int, rows: int, store: str) -> Table:
    """The table in memory, embeddings through the store."""
    import numpy as np

    import unseen
    from plait.base import registry

    if name in unseen.TABLES:
        frame, schema = unseen.read(name, rows)
        return Table(frame, schema, None, None, embed(frame, schema, store))
    dataset, target = TABLES[name]
    variant = registry.find("datasets", dataset)
    loaded = (variant() if variant.resplit else variant(seed=seed)).load()
    frame, schema = loaded.of("genres" if target == "drama" else target)
    if target == "drama":
        frame, schema = is_drama(frame, schema)
    if len(frame) > rows and variant.resplit:
        kept = np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])
        frame = frame.iloc[kept].reset_index(drop=True)
    groups = None if loaded.groups is None else frame[loaded.groups].astype(str).to_numpy()
    official = None if variant.resplit else (frame[loaded.split] == "test").to_numpy()
    inputs = [column for modality in schema.modalities for column in modality.columns]
    return Table(frame[[*inputs, schema.target]], schema, groups, official, embed(frame, schema, store))


def is_drama(frame: Any, schema: Any) -> tuple[Any, Any]:
    """One question of the films' genres."""
    import dataclasses

    drama = frame["genres"].str.split("|").map(lambda genres: "yes" if "Drama" in genres else "no")
    return frame.assign(drama=drama), dataclasses.replace(schema, target="drama", task="classification")


def embed(frame: Any, schema: Any, store: str) -> dict[str, Any]:
    """Modality -> (n, D), NaN where a row has none: what a fit finds in the store."""
    import dataclasses

    import numpy as np

    from peers import ENCODERS
    from plait.encoders.featurize import Featurizer
    from plait.store import Store

    frozen = tuple(m for m in schema.modalities if m.kind in ENCODERS)
    result = {}
    if frozen:
        features = Featurizer(
            dataclasses.replace(schema, modalities=frozen), {m.kind: ENCODERS[m.kind] for m in frozen}
        )
        opened = Store(store)
        inputs = features.transform(frame, schema.root, opened, strict=False, progress=False)
        opened.close()
        for name, tokens in inputs.tokens.items():
            result[name] = np.where(tokens.present.numpy()[:, None], tokens.pooled().numpy(), np.nan)
    for modality in schema.modalities:
        if modality.kind == "vector":
            result[modality.name] = np.hstack([np.stack(frame[column].to_list()) for column in modality.columns])
    return result


def case_of(table: Table, seed: int, given: argparse.Namespace) -> Any:
    import numpy as np

    from peers import Case
    from plait.data.table import split

    y = table.frame[table.schema.target]
    y = y.astype(float).to_numpy() if table.schema.task == "regression" else y.astype(str).to_numpy(dtype=object)
    if table.official is not None:
        train, test = np.flatnonzero(~table.official), np.flatnonzero(table.official)
    else:
        train, test = split(table.frame, (0.8, 0.2), seed, stratify=y, group=table.groups, task=table.schema.task)
    rows = (table.frame, table.schema, y, table.embeddings, train, test, table.groups)
    return Case(*rows, seed, given.threads, given.store, given.limit)


def scores(case: Any, output: Any) -> dict[str, float]:
    """Log loss and accuracy, or mean absolute error and R2, on the test rows."""
    import numpy as np
    from sklearn.metrics import mean_absolute_error, r2_score

    if case.regression:
        y = case.y[case.test].astype(float)
        return {"mae": float(mean_absolute_error(y, output)), "r2": float(r2_score(y, output))}
    codes = case.codes[case.test]  # a class that no training row has is missed by everyone
    p = np.clip(output, 1e-6, 1.0)
    p = p / p.sum(1, keepdims=True)
    true = np.where(codes < 0, 1e-6, p[np.arange(len(p)), codes])
    return {"log_loss": float(-np.log(true).mean()), "accuracy": float((output.argmax(1) == codes).mean())}


def run(name: str, table: Table, seed: int, system: str, given: argparse.Namespace) -> dict[str, Any]:
    """One line of the results."""
    from importlib.metadata import version

    from peers import SYSTEMS, quiet

    packages = {"tabm": "pytabkit", "autogluon": "autogluon.tabular", "plait_light": "plait"}
    package = packages.get(system, system)
    case = case_of(table, seed, given)
    line: dict[str, Any] = {
        "table": name,
        "seed": seed,
        "system": system,
        "task": table.schema.task,
        "threads": given.threads,
    }
    line |= {"train": len(case.train), "test": len(case.test), "rows": given.rows}
    if package != "plait":
        line["version"] = version(package)
    try:
        with quiet():
            answer = SYSTEMS[system](case)
    except Exception as error:  # noqa: BLE001  # a system that fails is a result, told in its line
        return {**line, "error": f"{type(error).__name__}: {error}"[:500]}
    line |= {"fit_seconds": round(answer.fit_seconds, 3), "busy_seconds": round(answer.busy_seconds, 3)}
    line |= {"predict_seconds": round(answer.predict_seconds, 3)}
    return {**line, "megabytes": round(answer.megabytes, 3), **scores(case, answer.output)}


def lines(out: Path) -> list[dict[str, Any]]:
    """The results so far; a line that was torn by a kill is left out."""
    result = []
    for text in (out / RESULTS).read_text().splitlines() if (out / RESULTS).exists() else []:
        try:
            result.append(json.loads(text))
        except ValueError:
            continue
    return result


def missing(given: argparse.Namespace) -> Iterator[tuple[str, int, list[str]]]:
    """What is to be done: table, seed, systems; whole seeds first. An error is tried again only with --retry."""
    key = ("table", "seed", "system")
    done = {tuple(line[k] for k in key) for line in lines(given.out) if not (given.retry and "error" in line)}
    for seed in range(given.seeds):
        for name in given.tables:
            left = [system for system in given.systems if (name, seed, system) not in done]
            if left:
                yield name, seed, left


def write(out: Path, line: dict[str, Any]) -> None:
    """One line, whole: other processes may write to the same file."""
    file = os.open(out / RESULTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (json.dumps(line) + "\n").encode())
    os.close(file)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    import unseen
    from peers import SYSTEMS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--tables", nargs="+", choices=[*TABLES, *unseen.TABLES], metavar="TABLE", help="some of them")
    parser.add_argument("--unseen", action="store_true", help="the tables of unseen.py, not those of PLAIT_DATA")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 1)))
    parser.add_argument(
        "--limit", type=float, default=150.0, help="seconds that AutoGluon, CatBoost and TabM are given"
    )
    parser.add_argument("--store", help="folder of the store of embeddings; default OUT/store")
    parser.add_argument("--retry", action="store_true", help="try runs that failed again")
    parser.add_argument("--page", type=Path, help="write this page from what is there, run nothing")
    parser.add_argument("--note", default="", help="what the page is to say beside it")
    given = parser.parse_args()
    given.store = given.store or str(given.out / "store")
    every = [t for t in unseen.TABLES if t not in unseen.APART] if given.unseen else list(TABLES)
    given.tables = given.tables or every
    if given.page:
        from peers_page import write_page

        datasets = {name: TABLES[name][0] if name in TABLES else name for name in given.tables}
        write_page(lines(given.out), given.tables, datasets, given.page, given.note, given.unseen)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    os.nice(19)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(given.threads)
    import torch

    torch.set_num_threads(given.threads)
    try:
        race(given)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        raise SystemExit(130) from None


def race(given: argparse.Namespace) -> None:
    """All that is missing."""
    last: tuple[Any, Table] | None = None
    for name, seed, systems in missing(given):
        which = (name, seed if name == "av_digits" else None)
        if last is None or last[0] != which:
            last = (which, read(name, seed, given.rows, given.store))
        for system in systems:
            start = time.perf_counter()
            line = run(name, last[1], seed, system, given)
            write(given.out, line)
            told = line.get("error") or {
                k: round(line[k], 4) for k in ("log_loss", "accuracy", "mae", "r2") if k in line
            }
            print(f"{name} seed {seed} {system}: {told} in {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
