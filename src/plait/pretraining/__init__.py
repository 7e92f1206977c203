"""Encoders that learn: alone on the task first, kept in the store, thawed and paced when they join a model."""
