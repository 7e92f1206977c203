"""The page of a study: what was compared, what is proven, what it cost."""
