"""How processes find each other, also where former ones have left their names and addresses."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import HashStore, PrefixStore, Store, TCPStore, is_initialized

from verydeep.engine import joining
from verydeep.engine.joining import agree_on_start, is_restart, join
from verydeep.errors import ResourceError

ADVICE = "check that all processes run, and that their machines reach each other."


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "JOINING", timedelta(seconds=2))


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store of torchrun, and the environment of its first process of two."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    values = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    for name, value in (values | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    is_restart.cache_clear()
    yield store
    is_restart.cache_clear()


def start(store: Store, delays: tuple[float, ...]) -> set[str]:
    """Let processes come after these delays; return the names that they agree on."""

    def come(rank: int) -> str:
        time.sleep(delays[rank])
        return agree_on_start(store, rank, len(delays))

    with ThreadPoolExecutor(len(delays)) as pool:
        return set(pool.map(come, range(len(delays))))


def wait_in_vain(store: Store, rank: int) -> str:
    """Let one of three processes come alone; return the error that it ends with."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ResourceError) as caught:
        patch.setattr(joining, "JOINING", timedelta(0))
        agree_on_start(store, rank, 3)
    return str(caught.value)


@pytest.mark.parametrize("delays", [(0, 0, 0), (0.2, 0, 0), (0, 0.2, 0.1)])
def test_processes_of_each_start_agree_on_a_new_name(delays: tuple[float, ...]) -> None:
    """What former processes left in the store misleads none, also if these ended before they had found each other."""
    store, names = HashStore(), set[str]()
    for _ in range(2):
        new = start(store, delays)
        assert len(new) == 1 and not new & names
        names |= new
        wait_in_vain(store, 0)
        wait_in_vain(store, 1)


@pytest.mark.parametrize(("rank", "others"), [(0, "processes 2, 3"), (2, "the main process")])
def test_processes_that_do_not_come_are_named(rank: int, others: str) -> None:
    assert wait_in_vain(HashStore(), rank) == f"Process {rank + 1} of 3 does not find {others}: {ADVICE}"


def test_a_store_that_does_not_answer_is_an_error(
    hasty: None, torchrun: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(ResourceError, match=f"Process 1 of 2 does not find the others: {ADVICE}"):
        join("gloo", 0, 2)


def test_a_process_that_cannot_be_reached_is_an_error(hasty: None, torchrun: Store) -> None:
    other = threading.Thread(target=agree_on_start, args=(PrefixStore("verydeep", torchrun), 1, 2))
    other.start()
    with pytest.raises(ResourceError, match=f"Process 1 of 2 does not find the others: {ADVICE}"):
        join("gloo", 0, 2)
    other.join()
    assert not is_initialized() and not is_restart()


def test_a_restart_is_recognized_on_machines_without_a_failure(torchrun: Store) -> None:
    """A count of torchrun says so only where a process failed."""
    assert "TORCHELASTIC_RESTART_COUNT" not in os.environ and not is_restart()
    start(PrefixStore("verydeep", torchrun), (0, 0))
    is_restart.cache_clear()  # as in a new process
    assert is_restart()
