"""Open weights in, every ecosystem out: one declarative table for each family of models, applied both ways."""
