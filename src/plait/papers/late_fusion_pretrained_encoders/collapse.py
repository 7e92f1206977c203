"""Does a late model collapse when one modality is all there is? What it answers then, and where its attention goes.

``python -m plait.papers.late_fusion_pretrained_encoders.collapse --out FOLDER`` fits the thesis's network on movies whose
genres all stand on at most 30 % of the films, so that no constant answer scores, and writes a line per seed, regime, pooling,
treatment of the absent and pattern of modalities into ``FOLDER/collapse.jsonl``; killed, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.base import __version__, registry
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.data.modality import Schema
from plait.data.table import split
from plait.data.targets import target_array, target_values
from plait.estimators.estimators import FusionClassifier
from plait.evaluation.baselines import constant_answer
from plait.fusion.attention import Attention
from plait.metrics.base import inputs, metrics
from plait.networks.late_pooling import LatePooling

#: No genre stands on a larger share of the films.
COMMONEST = 0.3
POOLINGS = ("concat", "mean", "sum", "max", "gated", "attention")
REGIMES = ("scratch", "pretrain")
METRICS = ("f1_samples", "f1_macro", "f1_micro")
#: A head of 64 numbers over each frozen encoder, as in the recipe ``pretraining_regimes``.
ENCODERS = {
    "text": {"name": "recurrent", "over": "minilm", "cell": "none", "hidden": 64, "both": False},
    "image": {"name": "recurrent", "over": "efficientnet_lite0", "cell": "none", "hidden": 64, "both": False},
}


def attention_on_absent(fusion: Attention, tokens: Mapping[str, Tokens], absent: str) -> float:
    """Mean share (0 to 1) that attention pooling gives to a modality that is not there.

    Example:
        >>> fusion = Attention({"a": 2, "b": 2})
        >>> tokens = {n: Tokens.of_vectors(torch.ones(3, 2), torch.tensor([n == "a"] * 3)) for n in "ab"}
        >>> attention_on_absent(fusion, tokens, "b")  # masked: it takes no part
        0.0
    """
    with torch.no_grad():
        shares = fusion.weights(tokens)
    return float(shares[:, fusion.names.index(absent)].mean())


def fit(
    frame: pd.DataFrame, schema: Schema, seed: int, settings: Mapping[str, Any], store: str | None
) -> tuple[FusionClassifier, pd.DataFrame]:
    """A model of the protocol on 70 % of the rows, chosen on 10 %; and the 20 % for testing."""
    train, valid, test = split(frame, (0.7, 0.1, 0.2), seed, stratify=schema.target, task=schema.task)
    given = {"task": "multilabel", "random_state": seed, "store": store, "progress": False, **settings}
    model = FusionClassifier(protocol="late-fusion-pretrained-encoders", modalities=schema, **given)
    labels = target_values(frame[str(schema.target)], "multilabel")
    valid_rows = frame.iloc[valid], labels.take(valid)
    return model.fit(frame.iloc[train], labels.take(train), valid=valid_rows), frame.iloc[test]


def judged(model: FusionClassifier, test: pd.DataFrame, target: str, absence: str) -> Iterator[dict[str, Any]]:
    """A line per pattern: scores at a threshold of one half, share of empty answers, attention on what is absent.

    ``constant`` is what the best answer that is the same for all films would score, chosen on these very rows.
    """
    network = model.members_.members[0].networks["joint"]
    assert isinstance(network, LatePooling)
    network.absence = absence  # changes no weight: nothing is missing in training
    names = tuple(m.name for m in model.schema_.modalities)
    patterns = [names, *((name,) for name in names)]
    seen: list[tuple[Any, Inputs]] = []
    with model.remembering(seen):
        outputs = model.predict_subsets(test, patterns)
    rows = seen[0][1]
    truth = target_array(test[target], "multilabel", model.labels)
    known = metrics("multilabel")
    same = constant_answer("multilabel", truth, known[METRICS[0]], truth.shape[1])
    constant = known[METRICS[0]].score(truth, same).value
    for pattern in patterns:
        output = np.asarray(outputs[pattern])
        line: dict[str, Any] = {"present": "+".join(pattern), "constant": constant}
        for name in METRICS:
            given = inputs("multilabel", output, 0.5)
            line[name] = known[name].score(truth, given[known[name].input]).value
        line["empty"] = float((output < 0.5).all(1).mean())
        line["labels"] = float((output >= 0.5).sum(1).mean())
        if isinstance(network.fusion, Attention) and len(pattern) == 1:
            line["attention_on_absent"] = _attention(model, network, rows, pattern)
        yield line


def _attention(model: FusionClassifier, network: LatePooling, rows: Inputs, pattern: Sequence[str]) -> float:
    """Attention on the modality that a pattern lacks."""
    with torch.no_grad():
        tokens = model.members_.members[0].eval().encode(rows)
    gone = next(name for name in tokens if name not in pattern)
    tokens[gone] = tokens[gone].absent_where(torch.ones(len(rows), dtype=torch.bool))
    assert isinstance(network.fusion, Attention)
    return attention_on_absent(network.fusion, network.joined(tokens), gone)


def measure(out: Path, seeds: int, store: str | None) -> Path:
    """Fit what is not there yet, and write its lines."""
    frame, schema = registry.find("datasets", "movies")(commonest=COMMONEST).load().of("genres")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "collapse.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    done = {(line["seed"], line["regime"], line["fusion"]) for line in lines}
    for seed in range(seeds):
        for regime in REGIMES:
            for pooling in POOLINGS:
                if (seed, regime, pooling) in done:
                    continue
                settings: dict[str, Any] = {"fusion": pooling, "encoders": ENCODERS}
                settings |= {
                    "train": dict.fromkeys(ENCODERS, regime),
                    "epochs": 12,
                    "patience": 60,
                    "pretrain": {"epochs": 12, "patience": 60},
                }
                model, test = fit(frame, schema, seed, settings | {"batch_size": 64, "record_epochs": False}, store)
                about = {"seed": seed, "regime": regime, "fusion": pooling, "rows": len(test), "plait": __version__}
                made = []
                for absence in ("masked", "zeros"):
                    every = judged(model, test, str(schema.target), absence)
                    made += [f"{json.dumps(about | {'absence': absence} | one)}\n" for one in every]
                with path.open("a") as file:
                    file.writelines(made)
    return path


def main() -> None:
    """Options of ``python -m``."""
    parser = argparse.ArgumentParser(description="Does a late model collapse when one modality is all there is?")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence/late_fusion"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--store", default=None)
    given = parser.parse_args()
    print(measure(given.out, given.seeds, given.store))


if __name__ == "__main__":
    main()
