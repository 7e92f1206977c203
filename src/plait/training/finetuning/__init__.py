"""The last layers of a pretrained encoder adapted to the task by LoRA, then frozen."""
