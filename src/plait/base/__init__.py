"""What everything stands on: errors, the registry of variants, settings checked, progress, precision, ``Tokens``."""
