"""Descriptors of images (appendix B): activations of a layer, and how they are combined."""
