"""Files to images and targets; they know nothing of models."""
