"""Nets on the disk: their folders, what tells one from another, which of them answers for a net of the paper."""
