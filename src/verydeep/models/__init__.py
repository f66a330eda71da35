"""Architectures and their files; they know nothing of data."""
