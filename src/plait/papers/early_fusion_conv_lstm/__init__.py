"""Benefits of early fusion: the convolutional LSTM over a grid of signal-to-noise ratios."""
