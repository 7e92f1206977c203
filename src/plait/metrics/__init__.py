"""What a prediction is worth: one function per metric, with its task, input, direction and range.

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

import importlib
import pkgutil

from plait.metrics.base import MAIN, METRICS, Metric, Score, inputs, measure, metric_name, metrics

for _module in pkgutil.iter_modules(__path__):  # importing registers; a metric may stand in a file of its own
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["MAIN", "METRICS", "Metric", "Score", "inputs", "measure", "metric_name", "metrics"]
