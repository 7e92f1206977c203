"""What a study proves, what it does not, and what it would need to."""
