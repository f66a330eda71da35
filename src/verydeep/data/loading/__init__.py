"""Batches of training and test images, decoded by worker processes."""
