"""Devices, loops and files: training, testing, checkpoints, reports."""
