"""Training: state, step, devices, loop, checkpoints, and what is written down on the way."""
