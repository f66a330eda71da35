"""Nets for other systems."""
