"""Trees grown by LightGBM and CatBoost, and turned into plait's arrays: to answer, neither package is needed."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.base.errors import ModelError, need
from plait.branches.forest import ENDLESS, LEVELS, Forest, single
from plait.branches.growth import WAIT, Pace, Seedbed

Array = NDArray[Any]
#: Levels up to which a category is given to CatBoost level by level.
FEW_LEVELS = 20


@dataclasses.dataclass
class _Nodes:
    """Nodes of a growing forest, each before its left branch."""

    columns: int
    feature: list[int] = dataclasses.field(default_factory=list)
    number: list[float] = dataclasses.field(default_factory=list)
    right: list[int] = dataclasses.field(default_factory=list)
    left: list[Array] = dataclasses.field(default_factory=list)
    deepest: int = 0

    def leaf(self, value: float, depth: int) -> None:
        """A leaf."""
        self.right.append(len(self.feature))
        self.feature.append(-1)
        self.number.append(float(np.float32(value)))
        self.deepest = max(self.deepest, depth)

    def split(self, column: int, threshold: float, *, unknown_right: bool) -> int:
        """Rows of at most ``threshold`` go left; its place, for ``turn_right``."""
        return self._node(column + self.columns * unknown_right, float(single(np.clip(threshold, -ENDLESS, ENDLESS))))

    def part(self, column: int, levels: Iterable[int], *, unknown_right: bool) -> int:
        """Rows of these levels go left; its place, for ``turn_right``."""
        kept = np.zeros(LEVELS, np.uint8)
        kept[list(levels)] = 1
        self.left.append(np.packbits(kept, bitorder="little"))
        return self._node(column + self.columns * (2 + unknown_right), len(self.left) - 1)

    def _node(self, feature: int, number: float) -> int:
        self.feature.append(feature)
        self.number.append(number)
        self.right.append(0)
        return len(self.feature) - 1

    def turn_right(self, place: int) -> None:
        """The next node is the right branch of that one."""
        self.right[place] = len(self.feature)

    def forest(self, base: Array, roots: Array) -> Forest:
        """All of them as arrays; ``roots`` (rounds, outputs)."""
        return Forest(
            base=base.astype(np.float64),
            roots=roots.astype(np.int32),
            feature=np.array(self.feature, np.int16 if 4 * self.columns < 2**15 else np.int32),
            number=np.array(self.number, np.float32),
            right=np.array(self.right, np.int32),
            left=np.array(self.left, np.uint8).reshape(-1, LEVELS // 8),
            shape=np.array([self.columns, self.deepest], np.int32),
        )


# -- LightGBM ----------------------------------------------------------------------------------------------------------------


def lightgbm(bed: Seedbed, pace: Pace) -> tuple[Forest, int]:
    """One ensemble by LightGBM, and its rounds."""
    package: Any = need("lightgbm", "boost")
    losses = {"log": "binary" if bed.outputs == 1 else "multiclass", "absolute": "l1", "squared": "l2", "smooth": "l2"}
    several = {"num_class": bed.outputs} if bed.outputs > 1 else {}
    settings = {
        "objective": losses[bed.loss],
        "learning_rate": pace.rate,
        "num_leaves": pace.leaves,
        "min_data_in_leaf": pace.min_rows,
        "lambda_l2": pace.penalty,
        "feature_fraction_bynode": pace.share,
        "max_bin": pace.bins,
        "seed": bed.seed,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    data = package.Dataset(bed.x, bed.y, weight=bed.weight, categorical_feature=list(range(bed.first)))
    held = package.Dataset(bed.held[0], bed.held[1], weight=bed.held[2], reference=data)

    def halt(now: Any) -> None:
        if bed.stop():
            raise package.callback.EarlyStopException(now.iteration, now.evaluation_result_list)

    history: dict[str, Any] = {}
    stops = [package.record_evaluation(history), package.early_stopping(WAIT, verbose=False), halt]
    with np.errstate(all="ignore"):
        model = package.train(settings | several, data, pace.rounds, valid_sets=[held], callbacks=stops)
    losses_seen = next(iter(next(iter(history.values())).values()))
    rounds = int(np.argmin(losses_seen)) + 1
    return forest_of_lightgbm(model.dump_model(num_iteration=rounds), bed.x.shape[1], bed.outputs), rounds


def forest_of_lightgbm(model: Mapping[str, Any], columns: int, outputs: int) -> Forest:
    """The trees that ``Booster.dump_model`` gives."""
    nodes, roots = _Nodes(columns), []
    for tree in model["tree_info"]:
        roots.append(len(nodes.feature))
        _plant(nodes, tree["tree_structure"], 0)
    return nodes.forest(np.zeros(outputs), np.array(roots).reshape(-1, outputs))


def _plant(nodes: _Nodes, node: Mapping[str, Any], depth: int) -> None:
    if "split_feature" not in node:
        nodes.leaf(node["leaf_value"], depth)
        return
    column, threshold = node["split_feature"], node["threshold"]
    if node["decision_type"] == "==":  # an unknown level is none of them
        place = nodes.part(column, map(int, str(threshold).split("||")), unknown_right=True)
    elif node["decision_type"] == "<=":
        asks = node["missing_type"] == "NaN"  # else there was none to learn from, and unknown counts as 0
        unknown_right = not (node["default_left"] if asks else threshold >= 0)
        place = nodes.split(column, threshold, unknown_right=unknown_right)
    else:
        raise ModelError(f"trees: LightGBM splits by '{node['decision_type']}', which plait does not know")
    _plant(nodes, node["left_child"], depth + 1)
    nodes.turn_right(place)
    _plant(nodes, node["right_child"], depth + 1)


# -- CatBoost ----------------------------------------------------------------------------------------------------------------


def catboost(bed: Seedbed, pace: Pace) -> tuple[Forest, int]:
    """One ensemble of symmetric trees by CatBoost, and its rounds."""
    package: Any = need("catboost", "boost")
    levels = [(c, k) for c in range(bed.first) for k in _levels(bed.x[:, c])]
    losses = {"log": "Logloss" if bed.outputs == 1 else "MultiClass", "absolute": "MAE"}
    model = package.CatBoost(
        {
            "loss_function": losses.get(bed.loss, "RMSE"),
            "iterations": pace.rounds,
            "learning_rate": pace.rate,
            "depth": max(1, min(6, int(np.ceil(np.log2(pace.leaves))) + 1)),
            "l2_leaf_reg": max(pace.penalty, 1e-3),
            "rsm": pace.share,
            "border_count": min(pace.bins, 254),
            "random_seed": bed.seed,
            "thread_count": 1,
            "allow_writing_files": False,
            "logging_level": "Silent",
            "early_stopping_rounds": WAIT,
        }
    )
    data = package.Pool(_one_hot(bed.x, bed.first, levels), bed.y, weight=bed.weight)
    held = package.Pool(_one_hot(bed.held[0], bed.first, levels), bed.held[1], weight=bed.held[2])
    model.fit(
        data,
        eval_set=held,
        use_best_model=True,
        callbacks=[SimpleNamespace(after_iteration=lambda now: not bed.stop())],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.json")
        model.save_model(str(path), format="json")
        written = json.loads(path.read_text(encoding="utf-8"))
    return forest_of_catboost(written, bed.x.shape[1], bed.first, levels), int(model.tree_count_)


def _levels(column: Array) -> list[int]:
    known = np.unique(column[~np.isnan(column)]).astype(int)
    return known.tolist() if len(known) <= FEW_LEVELS else []


def _one_hot(x: Array, first: int, levels: Sequence[tuple[int, int]]) -> Array:
    """The numbers, and 1 where a category is of a level."""
    flags = [(x[:, column] == level).astype(np.float32) for column, level in levels]
    return np.column_stack([x[:, first:], *flags]).astype(np.float32)


def forest_of_catboost(model: Mapping[str, Any], columns: int, first: int, levels: Sequence[tuple[int, int]]) -> Forest:
    """The trees of CatBoost's JSON, each written out once per output; ``levels`` stand behind the ``columns - first`` numbers."""
    scale, bias = model["scale_and_bias"]
    base = np.atleast_1d(np.asarray(bias, float))
    treated = {f["flat_feature_index"]: f["nan_value_treatment"] for f in model["features_info"]["float_features"]}
    nodes, roots = _Nodes(columns), []

    def grow(splits: Sequence[Mapping[str, Any]], values: Array, leaf: int, depth: int) -> None:
        if depth == len(splits):
            nodes.leaf(scale * float(values[leaf]), depth)
            return
        turn = len(splits) - 1 - depth  # the last split is the highest bit of a leaf's place
        split = splits[turn]
        place, number = split["float_feature_index"], columns - first
        if place < number:
            unknown_right = treated[place] == "AsTrue"
            here = nodes.split(first + place, split["border"], unknown_right=unknown_right)
        else:
            column, level = levels[place - number]
            here = nodes.part(column, (k for k in range(LEVELS) if k != level), unknown_right=False)
        grow(splits, values, leaf, depth + 1)
        nodes.turn_right(here)
        grow(splits, values, leaf | 1 << turn, depth + 1)

    for tree in model["oblivious_trees"]:
        splits, values = tree["splits"] or [], np.asarray(tree["leaf_values"]).reshape(-1, len(base))
        if any(split["split_type"] != "FloatFeature" for split in splits):
            raise ModelError("trees: CatBoost splits by more than numbers, which plait does not know")
        for output in range(len(base)):
            roots.append(len(nodes.feature))
            grow(splits, values[:, output], 0, 0)
    return nodes.forest(base, np.array(roots, np.int32).reshape(-1, len(base)))
