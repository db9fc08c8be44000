"""Pictures and clips of emoji on a ground, made from an index, with captions and exact truths."""
