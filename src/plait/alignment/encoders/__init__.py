"""Encoders that carry a space."""
