"""What the page of ``plait reproduce early-fusion-conv-lstm`` draws for each figure of the paper, from its studies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, nearest
from plait.estimators.estimators import FusionClassifier
from plait.papers.early_fusion_conv_lstm import figures, noise_grids
from plait.papers.early_fusion_conv_lstm.figures import level_name
from plait.papers.early_fusion_conv_lstm.noise_grids import Seeds
from plait.report.blocks import Block, Row, Text, picture, sheet
from plait.study import conditions
from plait.study.results import Results
from plait.study.tables import StudyTable
from plait.study.variants import with_fields
from plait.workflow.fit import make_model

MODALITIES = ("image", "audio")
#: Of section A.5, image and audio: the original, the sound clearer, the picture clearer, and both alike.
SETTINGS = ((math.inf, math.inf), (0.25, 1.0), (1.0, 0.25), (0.5, 0.5))
#: Ratios that the paper names.
NAMED = (math.inf, 2.0, 1.0, 0.5, 0.25, 0.125)
#: As ``networks.conv_lstm_layer`` computes them: the paper's figure 5.
EQUATIONS = (
    "First layer, at each place: z = b + W_v * v + W_a a_t + W_h * h_{t-1}, v the picture, a_t the spectrum of the moment, "
    "* a convolution that keeps the size.",
    "Later layers: z = b + W_x * x_t + W_h * h_{t-1}, x_t the pooled hidden state of the layer before.",
    "i, f, o = sigmoid(z_i, z_f, z_o); g = tanh(z_g); c_t = f c_{t-1} + i g; h_t = o tanh(c_t).",
)


def draw(name: str, given: Mapping[str, object], measured: Sequence[Results], folder: Path) -> list[Block]:
    """The pictures and tables of one element.

    Args:
        name: of the element.
        given: its ``draws:``: which ``figure``, and what that needs to be told.
        measured: what its recipes gave.
        folder: of the reproduction, where a fitted model is kept.

    Raises:
        ConfigError: there is no such figure.
    """
    options = {k: v for k, v in given.items() if k != "figure"}
    known: dict[str, Callable[..., list[Block]]] = {
        "comparison": comparison,
        "heat_maps": heat_maps,
        "curves": curves,
        "samples": samples,
        "activations": activations,
    }
    figure = str(given.get("figure"))
    if figure == "equations":
        return [Text(line) for line in EQUATIONS]
    if figure not in known:
        raise ConfigError(f"{name}: draws: no figure '{figure}': {nearest(figure, [*known, 'equations'])}")
    return known[figure](name, measured[0], folder, **options) if measured else []


def comparison(name: str, results: Results, folder: Path, first: str, trained: Sequence[float] = ()) -> list[Block]:
    """Accuracy over the grid, and what the ``first`` variant is ahead by, at these training ratios (figures 1, 7 to 10)."""
    result = noise_grids.grids(results, MODALITIES)
    kept = [(d, s) for d, s in result.items() if not trained or tuple(map(float, trained)) == s.mean.trained]
    kept.sort(key=lambda pair: pair[0].variant != first)
    if not kept:
        return []
    chosen = [(design.variant, seeds) for design, seeds in kept]
    share = _commonest(results)
    own, marks = chosen[0][1], {}
    for place, (_, seeds) in enumerate(chosen[1:], start=1):
        above = max(s.mean.accuracy.max() for s in (seeds, own)) > share
        if above and len(set(seeds.grids) & set(own.grids)) > 1:
            marks[place] = noise_grids.compare(own, seeds).p < 0.05
    maps = figures.comparison([dataclasses.replace(s.mean, label=label) for label, s in chosen], marks)
    caption = f"Accuracy over test ratios, and the first model's lead below.{_framed([s.mean for _, s in chosen])}"
    sure = any(bool(mark.any()) for mark in marks.values())
    caption += " A dot marks differences that are sure after correction for all cells." * sure
    caption += " One seed: no difference is tested." * (max(len(s.grids) for _, s in chosen) < 2)
    caption += _at_chance(share, {label: s.mean for label, s in chosen})
    table = pd.DataFrame(noise_grids.table(chosen))
    section = sheet(f"{name}-table", table, f"{first} against the others, over the grid")
    return [_one(picture(name, caption, maps)), section]


def heat_maps(name: str, results: Results, folder: Path) -> list[Block]:
    """Accuracy over the grid for every pair of training ratios (figure 2)."""
    result = noise_grids.grids(results, MODALITIES)
    maps = [dataclasses.replace(seeds.mean, label=_trained_name(seeds)) for seeds in result.values()]
    caption = f"Accuracy over test ratios, one map per pair of training ratios.{_framed(maps)}"
    caption += _at_chance(_commonest(results), {one.label: one for one in maps})
    return [_one(picture(name, caption, figures.heat_maps(maps)))]


def _commonest(results: Results) -> float:
    """Share of the commonest class among the test rows, which one answer for all would reach."""
    run = next(str(line["run"]) for line in results.lines if line["status"] == "done")
    classes = np.asarray(results.predictions(run).target)
    return float(np.unique(classes, return_counts=True)[1].max() / len(classes))


def _at_chance(share: float, maps: Mapping[str, noise_grids.Grid]) -> str:
    """Which models are no better than one answer for all, at whatever ratio: nothing follows from these."""
    low = [name for name, grid in maps.items() if grid.accuracy.max() <= share]
    who = "every model" if len(low) == len(maps) > 1 else ", ".join(low)
    said = f" No better than one answer for all test rows ({share:.3f}) at any ratio: {who}; nothing follows."
    return said if low else ""


def _framed(maps: Sequence[noise_grids.Grid]) -> str:
    """What the frames are, where the test ratios have those of training."""
    pairs = [zip(one.trained, one.levels, strict=True) for one in maps if one.trained is not None]
    return " The ratios of training are framed." if any(all(v in axis for v, axis in p) for p in pairs) else ""


def curves(name: str, results: Results, folder: Path) -> list[Block]:
    """Accuracy over one modality's ratios, one line per training ratio; zeroed input and true absence apart (figures 3 and 4)."""
    result = noise_grids.grids(results, MODALITIES)
    blocks: list[Block] = []
    for subset in dict.fromkeys(design.subset for design in result):
        lines, records = {}, []
        axis, levels, trained = 0, tuple[float, ...](), dict[str, float]()
        for seeds in (seeds for design, seeds in result.items() if design.subset == subset):
            grid = seeds.mean
            axis = int(grid.correct.shape[0] == 1)
            levels = grid.levels[axis]
            ratio = (grid.trained or (math.inf, math.inf))[axis]
            lines[level_name(ratio)], trained[level_name(ratio)] = grid.accuracy.ravel().tolist(), ratio
            records.append(_spread(level_name(ratio), seeds, levels))
        other = MODALITIES[1 - axis]
        how = f"{other} zeroed" if "+" in subset else f"{other} truly absent"
        drawn = figures.curves(levels, lines, modality=MODALITIES[axis], ratio=grid.ratio, trained=trained)
        key = f"{name}-{subset.replace('+', '-')}"
        caption = f"{MODALITIES[axis]} alone, {how}; squares: the ratio of training."
        caption += f" One answer for all test rows reaches {_commonest(results):.3f}."
        blocks.append(_one(picture(key, caption, drawn)))
        blocks.append(
            sheet(f"{key}-table", pd.DataFrame(records), f"{how}: accuracy (± standard deviation over seeds)")
        )
    return blocks


def _spread(trained: str, seeds: Seeds, levels: Sequence[float]) -> dict[str, str]:
    each = np.array([grid.accuracy.ravel() for grid in seeds.grids.values()])
    spread = [f" ± {v:.3f}" for v in each.std(0, ddof=1)] if len(each) > 1 else [""] * each.shape[1]
    values = [f"{mean:.3f}{s}" for mean, s in zip(each.mean(0), spread, strict=True)]
    return {"trained at": trained, **dict(zip(map(level_name, levels), values, strict=True))}


def samples(name: str, results: Results, folder: Path) -> list[Block]:
    """One picture and one sound at every ratio, read as amplitudes and as powers (figure 6)."""
    table = _table(results)
    row = table.frame[table.frame["split"] == "test"].iloc[:1]
    drawn = figures.samples(row, table.schema, MODALITIES, NAMED, ("amplitude_ratio", "snr"))
    caption = "One test pair at the paper's ratios: of amplitudes above, of powers below."
    return [_one(picture(name, caption, drawn))]


def activations(name: str, results: Results, folder: Path, variant: str, example: int) -> list[Block]:
    """The last layer after every step for one pair, at four settings of noise (figures 11 to 16)."""
    model, table = _model(results, folder, variant)
    longest = int(dict(model.network)["least_steps"]) if isinstance(model.network, Mapping) else 0
    test = table.frame[table.frame["split"] == "test"]
    frames = model.features_.encoders["audio"].prepare(list(test["audio"]))["mask"].sum(1)
    shorter = test[frames < longest]  # of these the picture is seen alone at first
    row = (shorter if len(shorter) > example else test).iloc[example : example + 1]
    columns = list(table.schema.columns)
    levels = [dict(zip(MODALITIES, pair, strict=True)) for pair in SETTINGS]
    result = noise_grids.activations(model, row[columns], row[table.target].iloc[0], levels, ratio="amplitude_ratio")
    caption = f"Digit {row[table.target].iloc[0]}: the network sees the picture alone until the sound sets in (shaded)."
    return [_one(picture(name, caption, figures.activation_lines(result)))]


def _model(results: Results, folder: Path, variant: str) -> tuple[FusionClassifier, StudyTable]:
    """A variant fitted on the first training condition and seed of a study, kept in the folder: studies keep no models."""
    table, spec = _table(results), results.spec
    place = folder / "activations-model"
    if (place / "model.json").is_file():
        return FusionClassifier.load(place), table
    fields = with_fields(spec.model, spec.variants.get(variant, {}))
    split = table.frame["split"]
    learned = table.frame[split != "test"].reset_index(drop=True)
    noisy = conditions.changed(conditions.parsed(spec.train[0]), learned, learned, table.schema, None)
    model = make_model(table.schema, {**fields, "random_state": spec.seeds[0], "store": "none", "progress": False})
    teach, choose = noisy[noisy["split"] == "train"], noisy[noisy["split"] == "valid"]
    columns, target = list(table.schema.columns), table.target
    valid = choose[columns], choose[target].to_numpy()
    model.fit(teach[columns], teach[target].to_numpy(), valid=valid)
    model.save(place)
    return FusionClassifier.load(place), table


def _table(results: Results) -> StudyTable:
    """The table of the study's first seed."""
    from plait.study import Study

    study = Study.from_dict(results.spec.to_dict())
    return next(iter(study.tables.values()))


def _trained_name(seeds: Seeds) -> str:
    levels = seeds.mean.trained or (math.inf, math.inf)
    return ", ".join(f"{m} {level_name(v)}" for m, v in zip(MODALITIES, levels, strict=True))


def _one(drawn: Any) -> Row:
    return Row([drawn])
