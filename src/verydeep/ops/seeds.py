"""Seeds for torch's generators."""

import numpy as np


def torch_seed(*key: int) -> int:
    """One seed from several non-negative numbers, each of which changes it.

    They are hashed, as torch's CPU generator looks at the lower 32 bits of a seed only.
    """
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
