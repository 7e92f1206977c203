"""Networks that join modalities, one file each, and the tasks they answer."""

#: Modules that are no variants.
SHARED = ("base", "conv_lstm_layer", "tasks", "transforms")
