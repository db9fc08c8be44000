"""Data sets that are built here, one TFDS builder a file, named as the file in CamelCase."""
