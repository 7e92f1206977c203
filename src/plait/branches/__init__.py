"""Branches predict from the encoded modalities side by side; held-out predictions decide how they are mixed."""
