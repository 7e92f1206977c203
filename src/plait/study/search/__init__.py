"""The answer of a score to learning rate, batch size, dropout: a study whose runs are drawn by a sampler."""
