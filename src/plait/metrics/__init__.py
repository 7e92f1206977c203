"""What a prediction is worth: one function per metric, told by task, input, direction and range.

A metric takes ``y`` and ``output`` as arrays:

==============  =======================================  =========================================================
task            y                                        output, by the metric's ``input``
==============  =======================================  =========================================================
classification  class indices (n,), -1: an unknown one   ``labels`` indices (n,), ``probabilities`` (n, C)
multilabel      indicators (n, C)                        ``labels`` indicators (n, C), ``probabilities`` (n, C)
regression      values (n,)                              ``values`` (n,), ``intervals`` (n, 2)
==============  =======================================  =========================================================

Where a metric is undefined its value is NaN with the reason beside it, never 0.
"""

from __future__ import annotations

from plait.metrics import classification, multilabel, regression  # noqa: F401  # importing registers
from plait.metrics.base import MAIN, METRICS, Metric, Score, metrics
from plait.metrics.inputs import codes, inputs, measure

__all__ = ["MAIN", "METRICS", "Metric", "Score", "codes", "inputs", "measure", "metrics"]
