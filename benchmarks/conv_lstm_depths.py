"""Pictures and tables of the convolutional LSTM's experiments, from what their studies found.

    PLAIT_DATA=... plait study run conv_lstm_depths --out runs/depths      # and so on, see docs/noise.md
    python benchmarks/conv_lstm_depths.py figures runs/depths [--first "initial layer"] [--out out]
    PLAIT_DATA=... python benchmarks/conv_lstm_depths.py activations [--recipe conv_lstm_depths] [--variant "initial layer"]
    PLAIT_DATA=... python benchmarks/conv_lstm_depths.py samples

    figures      of any study of white noise on two modalities: tables, heat maps, differences; of one modality: curves
    activations  the last layer over the steps at four settings (figures 11 to 16), of a model fitted as a recipe says
    samples      one picture and one sound at the paper's ratios, read as amplitudes and as powers (figure 6)

A study's folder may be unfinished: what is done is drawn. Activations are no study, for what they show is no metric.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plait.evaluation import noise_grid
from plait.papers.early_fusion_conv_lstm import figures, noise_grids
from plait.papers.early_fusion_conv_lstm import figures as conv_lstm_samples
from plait.papers.early_fusion_conv_lstm.noise_grids import Design, Seeds
from plait.study import Results, Study, conditions
from plait.study.variants import with_fields
from plait.workflow.fit import make_model

MODALITIES = ("image", "audio")
#: Of section A.5, image and audio: the original, the sound clearer, the picture clearer, and both alike.
SETTINGS = ((math.inf, math.inf), (0.25, 1.0), (1.0, 0.25), (0.5, 0.5))
#: Ratios that the paper names.
NAMED = (math.inf, 2.0, 1.0, 0.5, 0.25, 0.125)


def draw(told: argparse.Namespace) -> None:
    """Everything that can be drawn of a study."""
    results = Results.open(told.folder)
    found = noise_grids.grids(results, MODALITIES, told.ratio)
    status = results.status()
    print(f"{results.name}: {status['done']} of {status['runs']} runs\n")
    single = {d: s for d, s in found.items() if 1 in s.mean.correct.shape[:2]}
    if single:
        _curves(results.name, single, told.out)
        return
    trained: dict[str, dict[Design, Seeds]] = defaultdict(dict)
    for design, seeds in found.items():
        trained[design.trained][design] = seeds
    if len({d.variant for d in found}) == 1:
        maps = [_named(s, _trained_name(s)) for s in found.values()]
        print(figures.write(figures.heat_maps(maps), told.out / f"{results.name}.png"))
    for number, (label, designs) in enumerate(trained.items()):
        _compared(f"{results.name}-{number}", label, designs, told)
    if len(trained) > 1 and len({d.variant for d in found}) > 1:
        _over_training(found)


def _named(seeds: Seeds, name: str) -> noise_grid.Grid:
    return dataclasses.replace(seeds.mean, label=name)


def _trained_name(seeds: Seeds) -> str:
    levels = seeds.mean.trained or (math.inf, math.inf)
    return ", ".join(f"{m} {figures.level_name(v)}" for m, v in zip(MODALITIES, levels, strict=True))


def _compared(name: str, label: str, designs: Mapping[Design, Seeds], told: argparse.Namespace) -> None:
    """The first design against every other, trained alike."""
    order = sorted(designs, key=lambda d: d.variant != told.first)
    chosen = [(d.variant, designs[d]) for d in order]
    print(f"trained: {label}\n")
    _print(noise_grids.table(chosen))
    marks = {}
    for place, (_, seeds) in enumerate(chosen[1:], 1):
        if len(set(seeds.grids) & set(chosen[0][1].grids)) > 1:
            marks[place] = noise_grids.compare(chosen[0][1], seeds).p < 0.05
    if len(chosen) > 1:
        drawn = figures.comparison([seeds.mean for _, seeds in chosen], marks)
        print(figures.write(drawn, told.out / f"{name}.png"), "\n")


def _over_training(found: Mapping[Design, Seeds]) -> None:
    """What noise in training is worth to each variant."""
    for variant in dict.fromkeys(d.variant for d in found):
        several = sorted((d for d in found if d.variant == variant), key=lambda d: d.trained == conditions.CLEAN)
        print(f"{variant}: noise in training against none\n")
        _print(noise_grids.table([(d.trained, found[d]) for d in several]))


def _print(rows: list[dict[str, Any]]) -> None:
    print(
        "| | seeds | grid: mean ± sd | at training ratios | first minus this [95 %] | p | cells better / worse (Holm, 5 %) |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        line = f"| {row['design']} | {row['seeds']} | {row['grid']:.3f} ± {row['sd']:.3f} | {row['trained']:.3f} |"
        if "p" in row:
            line += f" {row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] | {row['p']:.2g} |"
            line += f" {row['better']} / {row['worse']} |"
        else:
            line += " | | |"
        print(line)
    print()


def _curves(name: str, found: Mapping[Design, Seeds], out: Path) -> None:
    """Accuracy over one modality's ratios, one line per training ratio; true absence and zeroed input apart."""
    for subset in dict.fromkeys(d.subset for d in found):
        lines, trained, axis, several = {}, {}, 0, 0
        levels: tuple[float, ...] = ()
        for design, seeds in found.items():
            if design.subset != subset:
                continue
            grid = seeds.mean
            axis = int(grid.correct.shape[0] == 1)
            levels, several = grid.levels[axis], len(seeds.grids)
            assert grid.trained is not None
            line = figures.level_name(grid.trained[axis])
            lines[line], trained[line] = grid.accuracy.ravel().tolist(), grid.trained[axis]
            each = np.array([g.accuracy.ravel() for g in seeds.grids.values()])
            spread = [f" ± {s:.3f}" for s in each.std(0, ddof=1)] if several > 1 else [""] * each.shape[1]
            print(
                f"| {subset} | {line} | "
                + " | ".join(f"{m:.3f}{s}" for m, s in zip(each.mean(0), spread, strict=True))
                + " |"
            )
        modality = MODALITIES[axis]
        drawn = figures.curves(levels, lines, modality=modality, trained=trained)
        print("levels", [figures.level_name(v) for v in levels], "seeds", several)
        print(figures.write(drawn, out / f"{name}-{subset.replace('+', '-')}.png"))


def activations(told: argparse.Namespace) -> None:
    """Fit the variant of a recipe on its first training condition, and draw what it answers while it listens."""
    study = Study.load(told.recipe)
    table = next(table for (_, seed), table in study.tables.items() if seed in (told.seed, None))
    fields = with_fields(study.spec.model, study.spec.variants.get(told.variant, {}))
    train = table.frame[table.frame["split"] == "train"].iloc[: told.pairs].reset_index(drop=True)
    test = table.frame[table.frame["split"] == "test"].reset_index(drop=True)
    noisy = conditions.changed(conditions.parsed(study.spec.train[0]), train, train, table.schema, None)
    model = make_model(table.schema, {**fields, "random_state": told.seed, "store": "none"})
    columns = [c for m in table.schema.modalities for c in m.columns]
    model.fit(noisy[columns], train[table.target].to_numpy(), groups=train["recording"].to_numpy())
    for row in range(told.examples):
        one = test.iloc[row : row + 1]
        levels = [dict(zip(MODALITIES, pair, strict=True)) for pair in SETTINGS]
        found = noise_grid.activations(model, one[columns], one[table.target].iloc[0], levels, ratio=told.ratio)
        print(figures.write(figures.activation_lines(found), told.out / f"activations-{row}.png"))
    _before_and_after(model, test, columns, table.target, told)


def _before_and_after(model: Any, test: Any, columns: list[str], target: str, told: argparse.Namespace) -> None:
    """How often the answer is right, and how sure, before the sound sets in and at its end."""
    print("\n| image | audio | right before the sound | right at the end | rows |\n|---|---|---|---|---|")
    levels = [dict(zip(MODALITIES, pair, strict=True)) for pair in SETTINGS]
    rows = test.iloc[: told.rows]
    each = [
        noise_grid.activations(model, rows.iloc[i : i + 1][columns], rows[target].iloc[i], levels, ratio=told.ratio)
        for i in range(len(rows))
    ]
    for place, level in enumerate(levels):
        panels = [panel for several in each if (panel := several[place]).padding]
        right = [panel.classes[int(panel.values[-1].argmax())] == panel.truth for panel in panels]
        before = [panel.classes[int(panel.values[panel.padding - 1].argmax())] == panel.truth for panel in panels]
        names = [figures.level_name(v) for v in level.values()]
        print(f"| {names[0]} | {names[1]} | {np.mean(before):.3f} | {np.mean(right):.3f} | {len(panels)} |")


def samples(told: argparse.Namespace) -> None:
    """One picture and one sound at every ratio, by both definitions."""
    from plait.datasets.av_digits import AvDigits

    frame, schema = AvDigits(1, 10, told.seed).load().of("digit")
    row = frame[frame["split"] == "test"].iloc[:1]
    drawn = conv_lstm_samples.samples(row, schema, MODALITIES, NAMED, ("amplitude_ratio", "snr"))
    print(figures.write(drawn, told.out / "samples.png"))


def main() -> None:
    """Read the command line."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("what", choices=("figures", "activations", "samples"))
    told.add_argument("folder", nargs="?", help="of a study, for figures")
    told.add_argument("--first", default="initial layer", help="variant that the others are compared with")
    told.add_argument("--ratio", choices=noise_grid.RATIOS, default="amplitude_ratio", help="what a ratio is")
    told.add_argument("--recipe", default="conv_lstm_depths", help="of activations")
    told.add_argument("--variant", default="initial layer", help="of activations")
    told.add_argument("--seed", type=int, default=0)
    told.add_argument("--pairs", type=int, help="of activations: train on the first so many only")
    told.add_argument("--examples", type=int, default=6, help="rows whose activations are drawn")
    told.add_argument("--rows", type=int, default=100, help="rows over which activations are counted")
    told.add_argument("--out", type=Path, default=Path("out"))
    found = told.parse_args()
    if found.what == "figures" and not found.folder:
        told.error("figures: of which study? give its folder")
    found.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    {"figures": draw, "activations": activations, "samples": samples}[found.what](found)


if __name__ == "__main__":
    main()
