"""The training loop, cross-fitting, checkpoints, encoders that are trained alone or tuned, and what is recorded of it all."""
