"""Branches, one file each, predict side by side; held-out predictions decide how they are mixed."""

#: Modules that are no variants.
SHARED = (
    "boosting",
    "branches",
    "features",
    "forest",
    "growth",
    "in_context",
    "intervals",
    "mixing",
    "mixture",
    "penalised",
    "solved",
)
