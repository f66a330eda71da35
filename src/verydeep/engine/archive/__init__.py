"""An archive: a folder with descriptors of any number of photographs, searched without loading all of them.

manifest.json   net, layer, scales and precision that all descriptors share, and their number
shards/         safetensors of some images each
skipped.json    files that the last update could not decode
.lock           empty; locked while a process writes
"""
