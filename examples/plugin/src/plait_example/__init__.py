"""A plug-in for plait."""
