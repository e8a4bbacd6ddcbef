"""Several processes for the calls of one host: a supervisor that has what there is one of, and workers with calls."""
