"""A fitted model as an ONNX file, which answers without plait and without torch."""
