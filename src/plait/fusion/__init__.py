"""Fusion operators, one file each: how the modalities are joined."""
