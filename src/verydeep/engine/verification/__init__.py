"""Inspect the photographs of a data set: what cannot be decoded, what is odd, near-duplicates, doubtful labels.

inspection.py       every file is decoded once, by several processes
content.py          findings about the content, from the measures of all photographs
description.py      descriptors of all photographs, if a net is given
wrong_labels.py     photographs whose label is probably wrong, by SVMs that were trained on the others
near_duplicates.py  groups of copies and near-duplicates: by bytes, perceptual hashes, or a net's descriptors
"""
