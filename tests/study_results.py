"""Makes folders of results with known effects, in the format that the runner writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from plait.metrics.base import inputs, metrics
from plait.study.results import Results

CLASSES = ("ant", "bee", "cat")


@dataclass
class Plan:
    """What is made. ``skill(place) -> float`` says how good a run is, in logits of the right answer.

    A place is {dataset, variant, subset, train, condition, present, seed, split}.
    """

    skill: Callable[[Mapping[str, Any]], float]
    variants: Mapping[str, Mapping[str, Any]]
    datasets: Sequence[str] = ("toy/kind",)
    task: str = "classification"
    modalities: Sequence[str] = ("text", "image")
    subsets: Sequence[Sequence[str]] | None = None
    train: Sequence[str] = ("clean",)
    conditions: Sequence[tuple[str, Mapping[str, Any] | None]] = (("clean", None),)
    patterns: Sequence[Sequence[str]] | None = None
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    splits: int = 1
    rows: int = 400
    test_rows: int = 120
    shared: bool = True
    luck: float = 0.05
    failing: Callable[[Mapping[str, Any]], str | None] = field(default=lambda place: None)
    costs: Callable[[Mapping[str, Any]], Mapping[str, float]] = field(
        default=lambda place: {"trained": 100_000, "seconds": 2.0, "peak": 500.0}
    )
    metrics: Sequence[str] = ()
    epochs: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)


def make(folder: Path, plan: Plan) -> Path:
    """Write study.json, study.yaml, results.jsonl and runs/."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(plan.datasets) * len(plan.variants) * len(plan.train) * len(plan.seeds) * plan.splits
    about = {
        "format": 1,
        "name": "toy-study",
        "identity": "feedbeef",
        "versions": {"plait": "0.1.0", "python": "3.11.7"},
        "data": dict.fromkeys(plan.datasets, "0123abcd"),
        "tables": {
            name: {"rows": plan.rows, "modalities": dict.fromkeys(plan.modalities, "text")} for name in plan.datasets
        },
        "seeds": list(plan.seeds),
        "runs": count * len(plan.subsets or [()]),
        "command": "plait study run study.yaml",
    } | dict(plan.about)
    (folder / "study.json").write_text(json.dumps(about))
    spec = {"name": about["name"], "data": {"dataset": "pokemon", "target": "type_1"}, "seeds": list(plan.seeds)}
    (folder / "study.yaml").write_text(yaml.safe_dump(spec | dict(plan.spec)))
    subsets = plan.subsets or [tuple(plan.modalities)]
    with (folder / "results.jsonl").open("w") as file:
        for dataset in plan.datasets:
            for variant in plan.variants:
                for subset in subsets:
                    for train in plan.train:
                        for seed in plan.seeds:
                            for split in range(plan.splits):
                                place = {
                                    "dataset": dataset,
                                    "variant": variant,
                                    "subset": tuple(subset),
                                    "train": train,
                                }
                                place |= {"seed": seed, "split": split}
                                file.write(json.dumps(_line(folder, plan, place)) + "\n")
    return folder


def _rng(*parts: Any) -> np.random.Generator:
    return np.random.default_rng(int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16))


def _line(folder: Path, plan: Plan, place: dict[str, Any]) -> dict[str, Any]:
    run = hashlib.sha256(repr(sorted(place.items())).encode()).hexdigest()[:16]
    rows = _test_rows(plan, place)
    line = {
        "run": run,
        "status": "done",
        "reason": None,
        "dataset": place["dataset"],
        "task": plan.task,
        "classes": list(CLASSES) if plan.task != "regression" else None,
        "variant": place["variant"],
        "settings": dict(plan.variants[place["variant"]]),
        "subset": list(place["subset"]),
        "modalities": list(plan.modalities),
        "train_condition": place["train"],
        "seed": place["seed"],
        "split": place["split"],
        "train_rows": plan.rows - len(rows),
        "test_rows": len(rows),
        "evaluations": [],
        "seconds": {},
        "memory": {},
        "weights": {},
        "started": "2026-11-21T10:00:00Z",
        "host": "here",
        "worker": 1,
    }
    reason = plan.failing(place)
    if reason:
        return line | {"status": "stopped" if reason.startswith("stopped") else "failed", "reason": reason}
    cost = plan.costs(place)
    line["seconds"] = {"fit": cost["seconds"], "encode": 0.1, "test": 0.2}
    line["memory"] = {"peak_mb": cost["peak"]}
    line["weights"] = {"trained": int(cost["trained"]), "frozen": 0}
    target, hard = _table(plan, place["dataset"])
    arrays: dict[str, Any] = {"rows": rows, "target": target[rows]}
    patterns = [p for p in (plan.patterns or [place["subset"]]) if set(p) <= set(place["subset"])]
    for condition, axes in plan.conditions:
        for present in patterns:
            here = place | {"condition": condition, "axes": axes, "present": tuple(present)}
            output = _output(plan, here, target, hard)[rows].astype(np.float32)
            arrays[f"output_{len(line['evaluations'])}"] = output
            given, known = inputs(plan.task, output), metrics(plan.task)
            told = {
                k: known[k].score(target[rows], given[known[k].input]).value for k in plan.metrics or KEPT[plan.task]
            }
            record = {"condition": condition, "present": list(present), "metrics": told}
            line["evaluations"].append(record | ({"axes": dict(axes)} if axes else {}))
    where = folder / "runs" / run
    where.mkdir(parents=True, exist_ok=True)
    np.savez(where / "predictions.npz", **arrays)
    if plan.epochs:
        _epochs(where, plan, place)
    return line


KEPT = {
    "classification": ("accuracy", "log_loss"),
    "multilabel": ("f1_samples", "f1_macro"),
    "regression": ("r2", "mae"),
}


def _test_rows(plan: Plan, place: Mapping[str, Any]) -> Any:
    if plan.splits > 1:  # k-fold: every row once per seed
        return np.array_split(_rng("fold", place["seed"]).permutation(plan.rows), plan.splits)[place["split"]]
    seed = 0 if plan.shared else place["seed"]
    return _rng("rows", place["dataset"], seed).permutation(plan.rows)[: plan.test_rows]


def _table(plan: Plan, dataset: str) -> tuple[Any, Any]:
    """Targets and how hard each row is, the same for every run."""
    rng = _rng("table", dataset)
    hard = rng.normal(size=plan.rows)
    if plan.task == "classification":
        return rng.integers(0, len(CLASSES), plan.rows), hard
    if plan.task == "multilabel":
        return rng.integers(0, 2, (plan.rows, len(CLASSES))), hard
    return rng.normal(size=plan.rows), hard


def _output(plan: Plan, place: Mapping[str, Any], target: Any, hard: Any) -> Any:
    """Answers for the whole table: the right one stands out by the skill, less what a row is hard."""
    luck = _rng(
        "luck", place["dataset"], place["variant"], place["subset"], place["train"], place["seed"], place["split"]
    )
    skill = plan.skill(place) + plan.luck * luck.normal()
    noise = luck.normal(size=(plan.rows, len(CLASSES)))
    if plan.task == "regression":
        return target + np.exp(-skill) * (hard + noise[:, 0])
    if plan.task == "multilabel":
        return 1 / (1 + np.exp(-((2 * target - 1) * (skill - hard[:, None]) + noise)))
    logits = noise + (np.arange(len(CLASSES)) == target[:, None]) * (skill - 0.5 * hard[:, None])
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _epochs(where: Path, plan: Plan, place: Mapping[str, Any]) -> None:
    full = {"condition": "clean", "axes": None, "present": place["subset"], **place}
    skill = plan.skill(full)
    lines = [
        {
            "member": member,
            "epoch": e,
            "train_loss": float(np.exp(-0.3 * e * skill) + 0.05),
            "valid_loss": float(np.exp(-0.25 * e * skill) + 0.1 + 0.01 * place["seed"] + 0.02 * member),
        }
        for member in range(2)
        for e in range(plan.epochs)
    ]
    (where / "epochs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def study(folder: Path, plan: Plan) -> Results:
    """Made and opened."""
    return Results.open(make(folder, plan))
