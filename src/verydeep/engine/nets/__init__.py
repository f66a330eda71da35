"""Nets on disk: their folders, what tells one from another, which of them matches a net of the paper."""
