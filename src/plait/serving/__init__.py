"""A fitted model as a service: JSON rows and uploads in, probabilities and each modality's worth out."""
