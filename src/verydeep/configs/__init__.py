"""The paper as data, with the standard library alone."""
