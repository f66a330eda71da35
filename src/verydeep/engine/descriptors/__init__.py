"""Descriptors of images (appendix B): a layer's activations, computed in memory or once and for all in the cache.

activations.py      one net, one layer: batches of images -> descriptors of each test scale
representation.py   nets, layers, test scales and aggregation, as one value
in_memory.py        descriptors of a few images
cache.py            descriptors of a data set, computed by all processes and kept on disk
"""
