"""Readers of the weight files of other systems."""
