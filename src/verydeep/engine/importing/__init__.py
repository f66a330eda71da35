"""Nets on their way in: weight files of other systems, published nets, repositories of the Hub."""
