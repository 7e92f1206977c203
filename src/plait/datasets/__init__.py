"""Data sets, one file each."""

#: Modules that are no variants.
SHARED = ("base", "fetch", "hearthstone_tables")
