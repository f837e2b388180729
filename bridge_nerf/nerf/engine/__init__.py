"""Training an object with nerfstudio: trainer, checkpoints, commands, progress, learning rates."""
