"""Advisers: what chooses a design from the training rows before a fit."""
