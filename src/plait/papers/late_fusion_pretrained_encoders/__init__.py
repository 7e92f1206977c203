"""Late fusion with task-specific pre-trained encoders: what only this paper needs."""
