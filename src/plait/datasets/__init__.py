"""Data sets, one file each."""

#: Modules that are no variants.
SHARED = ("base", "captions", "cifar_records", "digits", "fetch", "hearthstone_tables", "opinions")
