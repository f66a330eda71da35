"""Table 1 of the paper, transcribed by hand; section 4.1's shallow net, and what was computed from them on paper."""

_END = "FC-4096 FC-4096 FC-1000 soft-max"

TABLE_1 = {
    "A": f"""conv3-64 maxpool conv3-128 maxpool conv3-256 conv3-256 maxpool conv3-512 conv3-512 maxpool
             conv3-512 conv3-512 maxpool {_END}""",
    "A-LRN": f"""conv3-64 LRN maxpool conv3-128 maxpool conv3-256 conv3-256 maxpool conv3-512 conv3-512 maxpool
             conv3-512 conv3-512 maxpool {_END}""",
    "B": f"""conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool conv3-256 conv3-256 maxpool
             conv3-512 conv3-512 maxpool conv3-512 conv3-512 maxpool {_END}""",
    "C": f"""conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool conv3-256 conv3-256 conv1-256 maxpool
             conv3-512 conv3-512 conv1-512 maxpool conv3-512 conv3-512 conv1-512 maxpool {_END}""",
    "D": f"""conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool conv3-256 conv3-256 conv3-256 maxpool
             conv3-512 conv3-512 conv3-512 maxpool conv3-512 conv3-512 conv3-512 maxpool {_END}""",
    "E": f"""conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool conv3-256 conv3-256 conv3-256 conv3-256 maxpool
             conv3-512 conv3-512 conv3-512 conv3-512 maxpool conv3-512 conv3-512 conv3-512 conv3-512 maxpool {_END}""",
    "B-5x5": f"""conv5-64 maxpool conv5-128 maxpool conv5-256 maxpool conv5-512 maxpool conv5-512 maxpool {_END}""",
}

NUM_PARAMETERS = {
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
    "B-5x5": 134_503_528,
}
"""At 1000 classes."""

CONTEXT = {"A": 59, "A-LRN": 59, "B": 62, "C": 62, "D": 90, "E": 118, "B-5x5": 62}
"""Pixels beyond its nominal window that a dense score sees on each side (B-5x5 by the same sum as B)."""
