"""Early against late fusion under noise (a convolutional LSTM): runs it, keeps what came out, writes its page.

    PLAIT_DATA=... python benchmarks/early_late_noise.py run early_late_noise_reduced [--out runs/early_late_noise_reduced]
    python benchmarks/early_late_noise.py page docs/evidence/early_late_noise_reduced.jsonl

``run`` goes on where it was stopped. Of the first seed every place of fusion is trained at both rates; the rate that is better on
the validation pairs is taken for all seeds, which follow one by one, with one modality alone beside. After every run the lines
are written anew to ``docs/evidence/RECIPE.jsonl``; ``page`` needs nothing but that file and writes the page beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import plait
from plait.papers.early_fusion_conv_lstm.figures import level_name
from plait.papers.early_fusion_conv_lstm.noise_grids import grids
from plait.study import Study
from plait.study.statistics.paired import Difference, holm, resampled_t
from plait.study.statistics.verdicts import chance, seeds_needed

MODALITIES = ("image", "audio")
#: Named before anything was run: the least difference of means over the grid that would matter.
MINIMAL = 0.02
#: What one modality alone is trained as.
ALONE = "late, 0.003"
FIRST = "early"


def arm(variant: str) -> tuple[str, str]:
    """The place of fusion and the rate of a variant.

    >>> arm("late, equal weights, 0.003")
    ('late, equal weights', '0.003')
    """
    name, _, rate = variant.rpartition(", ")
    return name, rate


def run(told: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    study = Study.load(told.recipe)
    out = told.out or Path("runs") / told.recipe
    both = [r for r in study.runs if len(r.subset) == 2]
    for seed in study.spec.seeds:
        wanted = [r for r in both if r.seed == seed]
        if seed != study.spec.seeds[0]:
            rates = chosen(read(told.lines))
            wanted = [r for r in wanted if rates[arm(r.variant)[0]] == arm(r.variant)[1]]
        wanted += [r for r in study.runs if r.seed == seed and len(r.subset) == 1 and r.variant == ALONE]
        for one in wanted:
            study.run(out, engine="inline", store="none", only=[one.name])
            keep(study, out, told)


def keep(study: Study, out: Path, told: argparse.Namespace) -> None:
    """All that is done, one line per run."""
    from plait.study import Results

    results = Results.open(out)
    about = {"command": " ".join([Path(sys.argv[0]).name, "run", told.recipe]), "plait": plait.__version__}
    about |= {"torch": torch.__version__, "processor": platform.machine(), "about": study.spec.about}
    lines = [json.dumps(about)]
    found = grids(results, MODALITIES)
    runs = {(r["variant"], r["subset"], r["seed"]): r for r in results.runs.to_dict("records") if r["status"] == "done"}
    for design, seeds in found.items():
        for (seed, _), grid in seeds.grids.items():
            record = runs[design.variant, design.subset, seed]
            curve = results.epochs(str(record["run"]))
            row = {
                "variant": design.variant, "subset": design.subset, "seed": seed,
                "train_loss": [round(v, 4) for v in curve["train_loss"]],
                "valid_loss": [round(v, 4) for v in curve["valid_loss"]],
                "seconds": round(float(record["fit_seconds"]), 1) if "fit_seconds" in record else None,
                "weights": record.get("trained_weights"), "test_rows": int(grid.correct.shape[2]), "share": seeds.share,
                "levels": [[level_name(v) for v in axis] for axis in grid.levels],
                "trained": [level_name(v) for v in grid.trained or ()],
                "accuracy": np.round(grid.accuracy, 4).tolist(),
            }  # fmt: skip
            lines.append(json.dumps(row))
    told.lines.parent.mkdir(parents=True, exist_ok=True)
    told.lines.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 1} runs done", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return lines[1:]


def chosen(lines: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Place of fusion -> rate whose best validation loss of the first seed is lower."""
    best: dict[str, tuple[float, str]] = {}
    lines = [line for line in lines if "+" in line["subset"]]
    first = min(line["seed"] for line in lines)
    for line in lines:
        name, rate = arm(line["variant"])
        if line["seed"] == first:
            best[name] = min(best.get(name, (math.inf, "")), (min(line["valid_loss"]), rate))
    return {name: rate for name, (_, rate) in best.items()}


# -- the page ----------------------------------------------------------------------------------------------------------


def cells(line: dict[str, Any], part: str) -> float:
    """Mean accuracy over the whole grid, at the training ratios, or where the sound is clearer than in training."""
    accuracy = np.array(line["accuracy"])
    at = [axis.index(level) for axis, level in zip(line["levels"], line["trained"], strict=True)]
    heard = [math.inf if level == "orig" else float(level) for level in line["levels"][1]]
    clearer = [place for place, level in enumerate(heard) if level > heard[at[1]]]
    return float({"grid": accuracy, "trained": accuracy[at[0], at[1]], "clearer": accuracy[:, clearer]}[part].mean())


def verdict(difference: Difference, p: float, ratio: float) -> str:
    """The paper's claim is that early fusion is better."""
    if difference.pairs < 2:
        return "not decided (one seed)"
    if p < 0.05:
        return "held" if difference.value > 0 else "not held: the other way round"
    if difference.low > -MINIMAL and difference.high < MINIMAL:
        return f"not held: equal within {MINIMAL}"
    n = seeds_needed(MINIMAL, difference.spread, ratio=ratio)
    return f"not decided ({f'{n} seeds' if n else 'no number of seeds'} would see {MINIMAL}, going by this spread)"


def page(told: argparse.Namespace) -> None:
    about = json.loads(told.lines.read_text(encoding="utf-8").splitlines()[0])
    lines = read(told.lines)
    rates, both = chosen(lines), [line for line in lines if "+" in line["subset"]]
    arms = {name: {ln["seed"]: ln for ln in both if arm(ln["variant"]) == (name, rate)} for name, rate in rates.items()}
    first = arms.pop(FIRST)
    text = _head(about, both[0], told.lines)
    share = both[0]["share"]
    text += ["## Primary: mean over the grid\n", *_tables(first, arms, rates, {"grid": "mean over the grid"})]
    secondary = {"trained": "at the training ratios", "clearer": "sound clearer than in training"}
    text += ["## Secondary\n", *_tables(first, arms, rates, secondary)]
    text += [_power(name, _gap(first, own, "grid"), share) for name, own in arms.items() if len({*first} & {*own}) > 1]
    text += ["## One modality alone, and the majority\n", *_alone(lines), "## Learning curves\n", *_curves(both, rates)]
    told.lines.with_suffix(".md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    print(told.lines.with_suffix(".md"))


def _head(about: dict[str, Any], sample: dict[str, Any], lines: Path) -> list[str]:
    cells_there = np.array(sample["accuracy"]).size
    return [
        f"# Early against late fusion under noise: `{lines.stem}`\n",
        about["about"] + "\n",
        f"Written by `python benchmarks/early_late_noise.py page docs/evidence/{lines.name}` from the lines beside it, which",
        f"`{about['command']}` wrote (plait {about['plait']}, torch {about['torch']}).\n",
        f"Trained at picture {sample['trained'][0]}, sound {sample['trained'][1]} (ratios of amplitudes at the network's input,",
        f"noise anew for each pair and epoch); {sample['test_rows']:,} test pairs, drawn anew for each seed, under {cells_there}",
        "pairs of ratios.\n",
        f"**Named beforehand.** Least difference that would matter: {MINIMAL} of the mean over the grid. Test: corrected",
        "resampled t over seeds, two-sided, 5 %, by Holm within the primary and within the secondary family. Rate: of 0.001 and",
        "0.003 the one with the lower validation loss of the first seed. A model trains until five epochs bring nothing on its",
        "validation pairs.\n",
    ]


def _gap(first: dict[int, Any], own: dict[int, Any], part: str) -> Difference:
    gaps = np.array([cells(first[s], part) - cells(own[s], part) for s in first if s in own])
    return resampled_t(gaps, next(iter(first.values()))["share"])


def _tables(first: dict[int, Any], arms: dict[str, Any], rates: dict[str, str], parts: dict[str, str]) -> list[str]:
    """A table of a family of tests, corrected together."""
    family = {(part, name): _gap(first, own, part) for part in parts for name, own in arms.items()}
    corrected = holm(np.array([d.p for d in family.values()])) if family else []
    share = next(iter(first.values()))["share"]
    rows = ["| | fusion | rate | weights | seeds | accuracy | early minus this [95 %] | p (Holm) | is early better? |"]
    rows.append("|---" * 9 + "|")
    for part, title in parts.items():
        for name, own in {FIRST: first, **arms}.items():
            scores = [cells(line, part) for line in own.values()]
            spread = f" ± {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
            weights = next(iter(own.values()))["weights"]
            row = (
                f"| {title} | {name} | {rates[name]} | {weights:,.0f} | {len(scores)} | {np.mean(scores):.3f}{spread} |"
            )
            if (part, name) in family:
                d, p = family[part, name], float(corrected[list(family).index((part, name))])
                row += f" {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] | {p:.2g} | {verdict(d, p, share)} |"
            rows.append(row if (part, name) in family else row + " | | |")
    return [*rows, ""]


def _power(name: str, d: Difference, ratio: float) -> str:
    power = chance(MINIMAL, d.spread, d.pairs, floor=ratio * d.spread**2)
    found = f"with {d.pairs} seeds of this spread ({d.spread:.3f}) a true {MINIMAL} is found with chance {power:.2f}"
    return f"Primary, against {name}: {found}.\n"


def _alone(lines: Sequence[dict[str, Any]]) -> list[str]:
    rows = ["| | seeds | at its training ratio |", "|---|---|---|"]
    for name in MODALITIES:
        scores = [float(np.array(ln["accuracy"])[_at(ln)].mean()) for ln in lines if ln["subset"] == name]
        if scores:
            rows.append(f"| {name} alone ({ALONE}) | {len(scores)} | {np.mean(scores):.3f} |")
    return [*rows, "| majority | | 0.1 (ten classes, drawn alike) |", ""]


def _at(line: dict[str, Any]) -> Any:
    """The training ratio of the modality that there is, whatever the other's."""
    axis = MODALITIES.index(line["subset"])
    size = np.array(line["accuracy"]).shape[axis]
    trained = line["trained"][axis]
    place = line["levels"][axis].index(trained) if size > 1 else 0
    return np.s_[place, :] if axis == 0 else np.s_[:, place]


def _curves(lines: Sequence[dict[str, Any]], rates: dict[str, str]) -> list[str]:
    """Validation loss after every fifth epoch of the first seed, at both rates."""
    first = min(line["seed"] for line in lines)
    shown = [line for line in lines if line["seed"] == first]
    ends = sorted({0, *range(4, max(len(ln["valid_loss"]) for ln in shown), 5)})
    head = [str(e + 1) for e in ends]
    rows = [f"Seed {first}; loss on the validation pairs after so many epochs, and the lowest.\n",
            f"| fusion, rate | {' | '.join(head)} | lowest (epoch of all) |", "|---" * (len(head) + 2) + "|"]  # fmt: skip
    for line in shown:
        loss = line["valid_loss"]
        values = [f"{loss[e]:.3f}" if e < len(loss) else "" for e in ends]
        mark = " (taken)" if rates[arm(line["variant"])[0]] == arm(line["variant"])[1] else ""
        low = int(np.argmin(loss))
        rows.append(f"| {line['variant']}{mark} | {' | '.join(values)} | {loss[low]:.3f} ({low + 1} of {len(loss)}) |")
    return [*rows, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run")
    one.add_argument("recipe", choices=("early_late_noise", "early_late_noise_reduced"))
    one.add_argument("--out", type=Path, help="folder of the study")
    one.add_argument("--lines", type=Path, help="default: docs/evidence/RECIPE.jsonl")
    one.set_defaults(do=run)
    other = commands.add_parser("page")
    other.add_argument("lines", type=Path)
    other.set_defaults(do=page)
    told = parser.parse_args()
    if told.do is run and told.lines is None:
        told.lines = Path("docs/evidence") / f"{told.recipe}.jsonl"
    told.do(told)


if __name__ == "__main__":
    main()
