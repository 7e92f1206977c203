"""Samplers: how the trials of a search are drawn, one file each."""
