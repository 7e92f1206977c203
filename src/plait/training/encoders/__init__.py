"""Encoders that carry what was trained before."""
