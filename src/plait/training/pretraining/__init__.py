"""Encoders trained alone on the task before they join."""
