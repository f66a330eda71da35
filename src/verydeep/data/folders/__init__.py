"""Photographs as people keep them: folders, lists and CSV files."""
