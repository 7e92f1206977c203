"""Figure 2's grid of the convolutional LSTM, reduced, the test's speaker unheard: runs it, keeps what came out, writes its page.

    PLAIT_DATA=... python benchmarks/conv_lstm_grid.py run [--out runs/conv_lstm_grid] [--seeds 1] [--first 0]
    python benchmarks/conv_lstm_grid.py take FILE.jsonl  # what another place has measured
    python benchmarks/conv_lstm_grid.py

``run`` goes seed by seed through the recipes ``conv_lstm_grid_reduced`` (16 networks of both modalities) and
``conv_lstm_alone_reduced`` (one modality alone, the other zeroed or truly absent) and leaves out what means nothing there: one
modality alone, trained under the noise of the other. After every run the lines are written anew to
``docs/evidence/conv_lstm_grid.jsonl``; without arguments the page is built from that file alone.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import evidence_lines as ev
import learning_curves as lc
from noise_linear import MODALITIES, linear_of
from plait.papers.early_fusion_conv_lstm.figures import curves, heat_maps, level_name
from plait.papers.early_fusion_conv_lstm.noise_grids import Grid
from plait.report.canvas import svg
from plait.report.charts import Curve
from plait.study import Study, conditions
from plait.study.results import Results
from plait.study.statistics.paired import resampled_t

LINES = ev.HERE / "conv_lstm_grid.jsonl"
COMMAND = "python benchmarks/conv_lstm_grid.py run"
GRID, ALONE = "conv_lstm_grid_reduced", "conv_lstm_alone_reduced"
#: Named before anything was compared: the least difference of accuracy that matters.
MARGIN = 0.02
BOTH = "+".join(MODALITIES)

#: What the picture calls the places of the tests.
_SHORT = {"at the training ratios": "", "at the training ratio": ""}
#: Treatments of the other modality, where one is alone.
_HOW = {"absent": "{} truly absent", "zeros": "{} zeroed"}


def levels(label: str) -> tuple[list[float], str]:
    """Ratios of picture and sound in a condition, infinite without noise; and what it zeroes."""
    at, zeroed = dict.fromkeys(MODALITIES, math.inf), ""
    condition = conditions.parsed(label)
    for part in () if condition is None else conditions.parts(condition):
        if part.name() == "zeroed":
            zeroed = str(part.modality)
        elif part.strength:
            at[str(part.modality)] = float(f"{1 / part.strength:.6g}")
    return list(at.values()), zeroed


def wanted(study: Study, seed: int) -> list[str]:
    """Runs of a seed that mean something: not one modality under the condition that zeroes it."""
    result = []
    for run in study.runs:
        gone = {str(part["zeroed"]["modality"]) for part in run.train_condition if "zeroed" in part}
        if run.seed == seed and not gone & ({*run.subset} if len(run.subset) == 1 else set()):
            result.append(run.name)
    return result


def run(told: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    for seed in range(told.first, told.seeds):
        for recipe in (ALONE, GRID):
            study, out = Study.load(recipe), told.out / recipe
            for name in wanted(study, seed):
                study.run(out, engine="inline", store="none", only=[name], view=False)
                keep(told)
        if seed not in {x["seed"] for x in ev.read(told.lines)[1] if x["study"] == "linear"}:
            linear(told.lines, seed)


def take(told: argparse.Namespace) -> None:
    """What another place has measured, in the place of the same runs here."""
    ev.write(told.lines, COMMAND, ev.beside(told.lines, ev.read(told.source)[1]))


def keep(told: argparse.Namespace) -> None:
    """All that is done, one line per run, beside what the file has of other runs."""
    lines: list[ev.Line] = []
    for recipe in (ALONE, GRID):
        if (told.out / recipe / "results.jsonl").is_file():
            results = Results.open(told.out / recipe)
            lines += [_line(results, x, recipe) for x in results.lines if x["status"] == "done"]
    lines = ev.beside(told.lines, lines)
    ev.write(told.lines, COMMAND, lines)
    print(len(lines), "lines", flush=True)


def _line(results: Results, done: Mapping[str, Any], recipe: str) -> ev.Line:
    trained, zeroed = levels(done["train_condition"])
    tests = [(levels(e["condition"]), e) for e in done["evaluations"]]
    kept = [(at, float(e["metrics"]["accuracy"])) for (at, gone), e in tests if gone == zeroed]
    curve = results.epochs(done["run"])
    line = ev.about_run(done, "alone" if recipe == ALONE else "grid")
    line |= {"zeroed": zeroed, "trained": [level_name(v) for v in trained], "value": dict(_named(kept))[_name(trained)]}
    line |= {"present": line["subset"], "valid_loss": [round(float(v), 4) for v in curve["valid_loss"]]}
    return line | {"accuracy": dict(_named(kept))}


def _name(at: Sequence[float]) -> str:
    return ", ".join(level_name(v) for v in at)


def _named(found: Sequence[tuple[list[float], float]]) -> list[tuple[str, float]]:
    return [(_name(at), round(value, 4)) for at, value in found]


def linear(path: Path, seed: int) -> None:
    """A tuned linear model on the same pairs, at four pairs of training ratios: the two first, and so on."""
    head, lines = ev.read(path)
    fused = [x for x in lines if (x["study"], x["seed"]) == ("grid", seed)]
    axes = [list(dict.fromkeys(x["trained"][i] for x in fused)) for i in (0, 1)]
    for trained in map(list, zip(*axes, strict=False)):
        about = {
            "study": "linear",
            "data": fused[0]["data"],
            "arm": "linear",
            "seed": seed,
            "split": 0,
            "metric": "accuracy",
        }
        for found in linear_of(Study.load(GRID), seed, {"trained": trained, "levels": [[v] for v in trained]}, about):
            line = json.loads(found)
            lines.append(line | {"present": line["subset"], "value": line.pop("accuracy")[0][0]})
    ev.write(path, head["command"], lines)


# -- the page ----------------------------------------------------------------------------------------------------------


def told() -> str:
    """One sentence, for the front page."""
    lines = ev.read(LINES)[1]
    fused = [x for x in lines if x["study"] == "grid"]
    tests = _against(lines, fused)
    gaps = "; ".join(f"{t.name[1]} {t.difference.value:+.3f}" for t in tests)
    return f"In figure 2's grid, tested on a speaker unheard in training ({len(fused)} networks): {gaps or 'not measured yet'}."


def build() -> list[list[str]]:
    """Write the page; its rows, for the front page."""
    head, lines = ev.read(LINES)
    fused = [x for x in lines if x["study"] == "grid"]
    seeds = sorted({x["seed"] for x in fused})
    against, absence = _against(lines, fused), _absence(lines)
    tests = [*against, *absence]
    parts = [_head(head, fused, seeds), "## The verdicts\n"]
    parts += [f"- *{t.name[1]}*: **{t.verdict}** ({ev.interval(t.difference)})." for t in tests]
    parts += ["", "## Scores at the training ratios\n", _scores(lines, fused), "## The claims\n"]
    parts += [ev.draw(LINES.with_suffix(".svg"), tests, "difference of accuracy", _SHORT)]
    parts += [ev.tests_table(tests, "where", "first less second")]
    parts += ["## Figure 2: every model on every pair of ratios\n", _maps(fused), "## One modality alone\n"]
    parts += ["The mean over the seeds; squares: the ratio of training.\n"]
    parts += [_alone(lines, name, how) for name in MODALITIES for how in _HOW]
    parts += ["## Learning curves\n", _learned(lines), END]
    page = ev.write_page(LINES, parts)
    both = "Convolutional LSTM, figure 2: are both modalities better than one, speakers unheard?"
    zeros = "Convolutional LSTM: is true absence better than zeros?"
    return [ev.front_row(question, tests, len(seeds), page) for question, tests in ((both, against), (zeros, absence))]


def _single(lines: Sequence[ev.Line], line: ev.Line, name: str, zeroed: bool = False) -> ev.Line | None:
    """The network of one modality at the same seed and the same ratio of it."""
    place = MODALITIES.index(name)
    for x in lines:
        alone = x["study"] == "alone" and x["seed"] == line["seed"] and x["trained"][place] == line["trained"][place]
        if alone and (x["subset"] == name if not zeroed else x["subset"] == BOTH and x["zeroed"] not in ("", name)):
            return x
    return None


def _against(lines: Sequence[ev.Line], fused: Sequence[ev.Line]) -> list[ev.Test]:
    """Both less each alone, and less the one with the lower loss on validation pairs; means over the training ratios."""
    gaps: dict[str, dict[int, list[float]]] = {}
    for line in fused:
        known = {name: x for name in MODALITIES if (x := _single(lines, line, name))}
        if len(known) < len(MODALITIES):
            continue
        better = min(known.values(), key=lambda x: min(x["valid_loss"]))
        for name, other in (("the better one", better), *known.items()):
            gaps.setdefault(f"both less {name}", {}).setdefault(line["seed"], []).append(line["value"] - other["value"])
        for other in [
            x for x in lines if x["study"] == "linear" and x["seed"] == line["seed"] and x["trained"] == line["trained"]
        ]:
            if other["subset"] == BOTH:
                gaps.setdefault("both less a tuned linear model", {}).setdefault(line["seed"], []).append(
                    line["value"] - other["value"]
                )
    return _tests("at the training ratios", gaps, fused)


def _absence(lines: Sequence[ev.Line]) -> list[ev.Test]:
    gaps: dict[str, dict[int, list[float]]] = {}
    for name in MODALITIES:
        for line in [x for x in lines if x["study"] == "alone" and x["subset"] == name]:
            zeros = _single(lines, line, name, zeroed=True)
            if zeros:
                gaps.setdefault(f"{name}: absent less zeros", {}).setdefault(line["seed"], []).append(
                    line["value"] - zeros["value"]
                )
    return _tests("at the training ratio", gaps, [x for x in lines if x["study"] == "alone"])


def _tests(where: str, gaps: dict[str, dict[int, list[float]]], lines: Sequence[ev.Line]) -> list[ev.Test]:
    """Over seeds, each of which has its own test speaker."""
    ratio = lines[0]["test_rows"] / lines[0]["train_rows"] if lines else 0.0
    tests = []
    for name, by_seed in gaps.items():
        values = np.array([np.mean(v) for _, v in sorted(by_seed.items())])
        tests.append(ev.Test((where, name), resampled_t(values, ratio), ratio, MARGIN))
    return ev.corrected(tests)


def _head(head: ev.Line, fused: Sequence[ev.Line], seeds: Sequence[int]) -> str:
    pairs = len({tuple(x["trained"]) for x in fused})
    return f"""# Figure 2 of the convolutional LSTM, speakers unheard

Written by `python benchmarks/conv_lstm_grid.py` from `conv_lstm_grid.jsonl`; measured by `{head["command"]}`
(plait {head["versions"].get("plait", "?")}, torch {head["versions"].get("torch", "?")}, one thread): {pairs} of the 16 pairs of
training ratios, {len(seeds)} seed(s), each with a test speaker and a validation speaker of its own, whom no network hears in
training. Fusion in the first layer, {fused[0]["weights"]:,} weights, 8 x 8 pixels, 2,000 pairs, at most six epochs, the best
on the validation pairs is kept; {fused[0]["test_rows"]} test pairs under every pair of ratios; noise anew for each pair and
epoch.

**Named beforehand.** Least difference of accuracy that matters, and margin of equivalence: {MARGIN}, in the mean over the
training ratios. Resampled t over seeds, two-sided, 5 %, by Holm within each of two families. One run at one pair of ratios was
looked at for the cost; pixels, pairs and epochs were made few then. With one seed nothing is decided.
*Power*: the chance that so many seeds of this spread find a true difference of {MARGIN}.
"""


def _scores(lines: Sequence[ev.Line], fused: Sequence[ev.Line]) -> str:
    rows = []
    for trained in dict.fromkeys(tuple(x["trained"]) for x in fused):
        own = [x for x in fused if tuple(x["trained"]) == trained]
        cells = [ev.mean([x["value"] for x in own])]
        for name in MODALITIES:
            for zeroed in (False, True):
                alone = [x for x in (_single(lines, y, name, zeroed) for y in own) if x]
                cells.append(ev.mean([x["value"] for x in alone]))
        same = [x for x in lines if x["study"] == "linear" and tuple(x["trained"]) == trained]
        cells += [ev.mean([x["value"] for x in same if x["subset"] == s]) for s in (BOTH, *MODALITIES)]
        rows.append([*trained, *cells, f"{np.median([x['processor'] for x in own]):.0f}"])
    head = ["picture", "sound", "both", *(f"{n} alone, {w}" for n in MODALITIES for w in ("absent", "zeros"))]
    head += ["linear, both", *(f"linear, {n}" for n in MODALITIES), "processor seconds"]
    return "The commonest digit is right in about 0.1.\n\n" + ev.table(head, rows)


def _over_seeds(lines: Sequence[ev.Line]) -> dict[str, float]:
    """Accuracy at every pair of test ratios, the mean of these runs."""
    return {key: float(np.mean([x["accuracy"][key] for x in lines])) for key in lines[0]["accuracy"]}


def _maps(fused: Sequence[ev.Line]) -> str:
    grids = []
    for trained in dict.fromkeys(tuple(x["trained"]) for x in fused):
        own = [x for x in fused if tuple(x["trained"]) == trained]
        mean, rows = _over_seeds(own), own[0]["test_rows"]
        at = [tuple(map(_ratio, key.split(", "))) for key in mean]
        axes = [sorted({pair[i] for pair in at}, reverse=True) for i in (0, 1)]
        correct = np.zeros((*map(len, axes), rows), bool)
        for pair, value in zip(at, mean.values(), strict=True):
            correct[axes[0].index(pair[0]), axes[1].index(pair[1]), : round(value * rows)] = True
        levels = tuple(axes[0]), tuple(axes[1])
        grids.append(Grid(MODALITIES, levels, correct, (_ratio(trained[0]), _ratio(trained[1])), "", "amplitude_ratio"))
    path = LINES.with_name("conv_lstm_grid-maps.svg")
    path.write_text(svg(heat_maps(grids)), encoding="utf-8")
    told = "Accuracy, the mean over the seeds; the red box is where a network was trained."
    return f"{told}\n\n![accuracy over ratios of picture and sound]({path.name})\n"


def _learned(lines: Sequence[ev.Line]) -> str:
    """Validation loss by epoch at the first seed, and how many networks were still learning at the last epoch."""
    kinds = {"grid": "networks of both modalities", "alone": "networks of one modality"}
    said = "; ".join(lc.late([x for x in lines if x["study"] == of], what) for of, what in kinds.items())
    first = [x for x in lines if x["study"] == "grid" and x["seed"] == min(y["seed"] for y in lines)]
    of_sound: dict[str, list[ev.Line]] = {}
    for x in first:
        of_sound.setdefault(x["trained"][1], []).append(x)
    least = [min(group, key=lambda x: min(x["valid_loss"])) for group in of_sound.values()]
    drawn = [Curve(", ".join(x["trained"]), range(1, len(x["valid_loss"]) + 1), x["valid_loss"]) for x in least]
    picture = ev.draw_curves(LINES.with_name("conv_lstm_grid-curves.svg"), drawn, "epoch", "validation loss")
    shown = f"The picture: seed {first[0]['seed']}, both modalities, of each ratio of the sound the network with the lowest loss"
    return ev.wrapped(f"{said}. {shown} (ratios of picture, sound).") + f"\n\n{picture}"


def _ratio(name: str) -> float:
    return math.inf if name == "orig" else float(name)


def _alone(lines: Sequence[ev.Line], name: str, how: str) -> str:
    """Accuracy over the ratios of one modality, the other ``absent`` or ``zeros``, a line for each training ratio."""
    place, drawn = MODALITIES.index(name), {}
    of = [x for x in lines if x["study"] == "alone" and x["zeroed"] != name]
    of = [x for x in of if x["subset"] == (name if how == "absent" else BOTH)]
    if not of:
        return "Not measured yet.\n"
    for trained in dict.fromkeys(x["trained"][place] for x in of):
        mean = _over_seeds([x for x in of if x["trained"][place] == trained])
        drawn[trained] = {_ratio(key.split(", ")[place]): value for key, value in mean.items()}
    across = sorted(next(iter(drawn.values())), reverse=True)
    values = {trained: [by_ratio[v] for v in across] for trained, by_ratio in drawn.items()}
    path = LINES.with_name(f"conv_lstm_grid-{name}-{how}.svg")
    figure = curves(across, values, modality=name, ratio="amplitude_ratio", trained={t: _ratio(t) for t in values})
    path.write_text(svg(figure), encoding="utf-8")
    told = f"{name} alone, {_HOW[how].format(MODALITIES[1 - place])}"
    return f"{told}:\n\n![accuracy over its ratios, by training ratio]({path.name})\n"


END = """## Full size, and what is open

`conv_lstm_grid`, `conv_lstm_image_alone` and `conv_lstm_audio_alone` are the paper's own size (87,516 pairs, 28 x 28 pixels, 64
cells, 100 test cells): `plait study run conv_lstm_grid`. One core would need about three hours for each of the 16 networks and
epochs (from [8 rows in a second](../conv_lstm.md)), so it wants a GPU. The paper tests on speakers that it trained on.
`python benchmarks/conv_lstm_grid.py run --seeds 6` gives every speaker its turn at the reduced size: about an hour of one core.
"""


def main() -> None:
    ev.command(__doc__, LINES, run, build, take, seeds={"type": int, "default": 1}, first={"type": int, "default": 0})


if __name__ == "__main__":
    main()
