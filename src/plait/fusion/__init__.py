"""Fusion operators, one file each: how the modalities are joined."""

#: Files that hold no operator.
SHARED = ("layers",)
