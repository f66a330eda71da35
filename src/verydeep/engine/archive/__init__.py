"""Descriptors of any number of images, in a folder: written as they are computed, searched without loading them all.

manifest.json   by which net and how all of them were described; how many there are
shards/         safetensors of some images each
skipped.json    files that the last job could not decode
.lock           empty; locked while a job writes
"""
