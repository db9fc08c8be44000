"""Tables of rules that map the keys and layouts of public checkpoints to our parameter names."""
