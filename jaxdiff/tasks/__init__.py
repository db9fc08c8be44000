"""What is trained: a model and how its batches become losses."""
