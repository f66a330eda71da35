"""The free memory of the machine, and of a container."""

from pathlib import Path

import pytest

from verydeep.engine import memory


def write_group(folder: Path, values: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name).write_text(str(value))


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of control groups; the machine has a megabyte free."""
    (tmp_path / "meminfo").write_text("MemTotal: 4096 kB\nMemAvailable: 1024 kB\n")
    for name, file in (("MEMINFO", "meminfo"), ("OWN_GROUPS", "own"), ("GROUPS", "groups")):
        monkeypatch.setattr(memory, name, tmp_path / file)
    return tmp_path / "groups"


def test_the_limit_of_a_container_counts(groups: Path) -> None:
    """Second version of control groups: the limit stands at a parent; pages of read files make room."""
    (groups.parent / "own").write_text("0::/pod/part\n")
    assert memory.host_memory() == 2**20
    stat = {"memory.stat": "anon 100\ninactive_file 50\n"}
    write_group(groups / "pod", {"memory.max": 1000, "memory.current": 700, **stat})
    write_group(groups / "pod" / "part", {"memory.max": "max", "memory.current": 600, **stat})
    assert memory.host_memory() == 1000 - 700 + 50
    write_group(groups / "pod", {"memory.max": 2**21, "memory.current": 0})
    assert memory.host_memory() == 2**20


def test_the_first_version_of_control_groups_counts_too(groups: Path) -> None:
    """In a container its path is the machine's, and the limit is at the root."""
    (groups.parent / "own").write_text("5:devices:/a\n4:memory:/docker/1f\n0::/\n")
    stat = {"memory.stat": "inactive_file 7\ntotal_inactive_file 50\n"}
    write_group(groups / "memory", {"memory.limit_in_bytes": 1000, "memory.usage_in_bytes": 1100, **stat})
    assert memory.host_memory() == 0
    write_group(groups / "memory", {"memory.limit_in_bytes": 2**63 - 4096, "memory.usage_in_bytes": 5})
    assert memory.host_memory() == 2**20


def test_this_machine_says_how_much_is_free() -> None:
    assert memory.host_memory() > 0
