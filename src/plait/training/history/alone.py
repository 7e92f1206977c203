"""The epochs of encoders that are trained alone: scored as a member's are, and told apart from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from torch import Tensor

from plait.base.inputs import Inputs
from plait.branches.branches import Branches
from plait.training.history.patterns import codes, pattern_codes
from plait.training.history.scorer import Scorer
from plait.training.history.stages import of_encoder
from plait.training.loop import Callbacks
from plait.training.pretraining.alone import ONLY, Alone, content_of

#: The code of the only pattern while an encoder is alone: what is kept in the store says nothing of other modalities.
(_CODE,) = pattern_codes([ONLY])

Tell = Callable[[Mapping[str, Any]], None]


class Watching:
    """Scores and tells the epochs of every encoder of a fit that is trained alone.

    The rows are those of the member that the encoder is for: what it learns from, what is held out from it, and test rows. A row
    without the modality is answered by what is known without it, as under the same pattern of the whole model.
    """

    def __init__(self, names: Sequence[str], score: Scorer | None, callback: Tell | None) -> None:
        """``names`` of all modalities, which give the letters; ``score`` of the members, or None: only losses and times."""
        self.letters, self.score, self.callback = codes(names), score, callback

    def callbacks(self, name: str, number: int, fold: Tensor, valid: Tensor) -> Callbacks:
        """For the training of one encoder, for the member ``number``."""
        scorer, callback = self._scorer(name), self.callback

        def score(_: int, model: Branches) -> dict[str, Any]:
            assert scorer is not None
            return scorer(model, fold, valid)

        def tell_record(record: Mapping[str, Any]) -> None:
            assert callback is not None
            callback(self._record(name, number, False, record))

        return Callbacks(None if scorer is None else score, None if callback is None else tell_record)

    def test_rows(self, name: str) -> str:
        """Hex digest of the test rows, as this modality has them; empty where there are none."""
        test = None if self.score is None else self.score.test
        if test is None:
            return ""
        digest = blake2b(content_of(test[0].prepared[name], test[0].present[name]), digest_size=16)
        digest.update(np.ascontiguousarray(test[1]).tobytes())
        return digest.hexdigest()

    def history(self, name: str, number: int, alone: Alone) -> list[dict[str, Any]]:
        """The records of an encoder; of one from the store as they were kept, without scores on other test rows."""
        same = alone.test_rows == self.test_rows(name)
        values = [self._record(name, number, alone.stored, _without_test(r, keep=same)) for r in alone.history]
        if alone.stored and self.callback is not None:
            for record in values:
                self.callback(record)
        return values

    def _record(self, name: str, number: int, stored: bool, record: Mapping[str, Any]) -> dict[str, Any]:
        result = {**of_encoder(name, number, stored), **record}
        scored = result.pop("metrics", None)
        if scored is not None and self.score is not None:
            letter = self.letters[name]
            result["metrics"] = {p: {letter if k == _CODE else k: v for k, v in s.items()} for p, s in scored.items()}
        return result

    def _scorer(self, name: str) -> Scorer | None:
        whole = self.score
        if whole is None:
            return None
        test = None if whole.test is None else (_only(whole.test[0], name), whole.test[1])
        return Scorer(whole.task, _only(whole.inputs, name), whole.target, (ONLY,), whole.prior, test)


def shown(alone: Alone, name: str, number: int, watching: Watching | None) -> list[dict[str, Any]]:
    """The records of an encoder; where nobody watches without scores, be they kept in the store or not."""
    if watching is not None:
        return watching.history(name, number, alone)
    value = of_encoder(name, number, alone.stored)
    return [{**value, **{k: v for k, v in record.items() if k != "metrics"}} for record in alone.history]


def _only(inputs: Inputs, name: str) -> Inputs:
    return Inputs({}, {ONLY: inputs.prepared[name]}, {ONLY: inputs.present[name]})


def _without_test(record: Mapping[str, Any], *, keep: bool) -> dict[str, Any]:
    scored = record.get("metrics")
    if keep or scored is None:
        return dict(record)
    return {**record, "metrics": {part: value for part, value in scored.items() if part != "test"}}
