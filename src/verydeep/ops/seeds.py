"""Seeds for torch's generators."""

import numpy as np


def torch_seed(*key: int) -> int:
    """Return one seed made of several non-negative numbers, each of which changes it.

    They are hashed because torch's CPU generator uses only the lower 32 bits of a seed.
    """
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
