"""Caches of what nets compute, so that nothing is computed twice."""
