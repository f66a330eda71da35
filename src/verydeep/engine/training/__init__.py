"""Training (section 3.1): from what is asked for to a run with a trained net, and the paper's ladder of nets."""
