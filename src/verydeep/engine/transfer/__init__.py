"""Descriptors of images by trained nets, and linear classifiers on them (appendix B)."""
