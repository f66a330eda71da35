"""Explanations of what a net sees: class score maps, their windows, boxes and filters, as arrays and pictures."""
