"""How the processes of a job find each other when it starts, and when torchrun starts them again."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from uuid import uuid4

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from verydeep.errors import ResourceError
from verydeep.wording import shorten_list

JOINING = timedelta(minutes=15)
"""How long a process waits for the others to join: on another disk, a million files may take them longer to list."""

PATIENCE = timedelta(hours=2)
"""How long a process that has joined waits for a slower one; if one dies, torchrun ends all."""


@cache
def is_restart() -> bool:
    """Whether torchrun has started the same processes before, and one of them failed (``--max-restarts``).

    Each machine counts the failures of its own processes alone, so the store is asked, too.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0:
        return True
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and _open_store().check(["joined"])


def join(backend: str, rank: int, world_size: int) -> None:
    """Connect this process to the others of the job.

    When torchrun starts the processes again, it keeps its store, in which the addresses of the former processes still
    stand (PyTorch 2.13, pytorch/pytorch#135712): a process that reads one before its successor replaces it is refused,
    or waits in vain. So the processes agree on a part of the store that is new.

    Raises:
        ResourceError: Another process does not come, or cannot be reached.
    """
    is_restart()  # which joining changes
    store = _open_store()
    try:
        store = PrefixStore(agree_on_start(store, rank, world_size), store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=JOINING)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "connectFullMesh" not in str(error):
            raise
        raise _not_found(rank, world_size, "the others") from None
    assert dist.group.WORLD is not None
    dist.group.WORLD.set_timeout(PATIENCE)


def agree_on_start(store: Store, rank: int, world_size: int) -> str:
    """Return a name for this start of the job: a new one, the same on all processes, once all of them have come.

    What former processes wrote may still be in the store. The main process writes a new name; each other process signs
    the name that it reads, until the main process confirms that signature.

    Raises:
        ResourceError: Another process does not come.
    """
    own = uuid4().hex
    if rank == 0:
        signatures = {other: f"{own}/{other}" for other in range(1, world_size)}
        store.set("start", own)
        if not _becomes_true(lambda: store.check([*signatures.values()])):
            missing = [str(other + 1) for other, key in signatures.items() if not store.check([key])]
            raise _not_found(rank, world_size, f"process{'es' * (len(missing) > 1)} {shorten_list(missing)}")
        store.set("joined", "")
        for key in signatures.values():
            store.set(f"{own}/{store.get(key).decode()}", "")
        return own

    name = ""

    def is_confirmed() -> bool:
        nonlocal name
        if not store.check(["start"]):
            return False
        name = store.get("start").decode()
        store.set(f"{name}/{rank}", own)
        return bool(store.check([f"{name}/{own}"]))

    if not _becomes_true(is_confirmed):
        raise _not_found(rank, world_size, "the main process")
    return name


def _open_store() -> Store:
    """Connect to the store that the processes of the job share, torchrun's or the main process's."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        store, _, _ = next(rendezvous("env://", rank, world_size, timeout=JOINING))
    except dist.DistError:
        raise _not_found(rank, world_size, "the others") from None
    return PrefixStore("verydeep", store)


def _becomes_true(condition: Callable[[], bool]) -> bool:
    """Wait for a condition, open to signals; return whether it came true in time."""
    end = time.monotonic() + JOINING.total_seconds()
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _not_found(rank: int, world_size: int, others: str) -> ResourceError:
    return ResourceError(
        f"Process {rank + 1} of {world_size} does not find {others}: check that all processes run, and that their "
        "machines reach each other."
    )
