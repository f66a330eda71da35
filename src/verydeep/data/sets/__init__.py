"""Published data sets and the generated set, as they are distributed."""
