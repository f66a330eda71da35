"""Devices, precision and processes: the only place that names them (section 3.3's data parallelism)."""

import ctypes
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG

MEMINFO = Path("/proc/meminfo")

PATIENCE = timedelta(hours=2)
"""How long a process waits for another that lists a million files, or has the larger ones; torchrun ends them all where
one dies."""

Value = TypeVar("Value")

Precision = Literal["auto", "bf16", "fp32"]
"""As options name it; auto is bf16 where the hardware multiplies it."""


@dataclass(frozen=True)
class Runtime:
    """One process of a job: where it computes, how precisely, and which of how many it is."""

    device: torch.device
    bf16: bool
    rank: int = 0
    world_size: int = 1
    num_workers: int = 0
    """Processes that decode images for this one."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    @property
    def precision(self) -> str:
        """As reports name it."""
        return "bf16" if self.bf16 else "fp32"

    @property
    def pin_memory(self) -> bool:
        """Whether batches are to lie in page-locked memory, from where a GPU copies them while it computes."""
        return self.device.type == "cuda"

    @property
    def report_every(self) -> int:
        """Steps between two reports: reading a loss from a GPU makes it wait."""
        return 10 if self.device.type == "cuda" else 1

    @property
    def batch_pixels(self) -> int:
        """Pixels of a batch of images in testing; larger batches were measured to gain nothing."""
        return (32 if self.device.type == "cuda" else 8) * 256 * 341

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 compute over fp32 weights, or nothing."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def place(self, model: VGG) -> VGG:
        """The net on this device, in the memory format that convolutions are fastest in."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def move(self, tensor: Tensor) -> Tensor:
        """The tensor on this device."""
        return tensor.to(self.device, non_blocking=True)

    def wait(self) -> None:
        """Until the device has done all that it was asked for, so that time can be taken."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def tuned(self) -> Iterator[None]:
        """Let cuDNN try its algorithms on each new shape, where repetition need not be bit-equal.

        It pays in training, which has one shape, and costs in testing, which has hundreds.
        """
        torch.backends.cudnn.benchmark = self.device.type == "cuda" and not torch.are_deterministic_algorithms_enabled()
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = False

    def parallel(self, model: VGG) -> nn.Module:
        """The net as its processes train it: gradients are averaged over them."""
        if self.world_size == 1:
            return model
        # The one buffer, the mean, never changes. PyTorch 2.13 renamed the option that says so.
        parameters = inspect.signature(DistributedDataParallel).parameters
        once = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        options: dict[str, Any] = {once: False}
        return DistributedDataParallel(model, gradient_as_bucket_view=True, **options)

    def sync_gradients(self, parallel: nn.Module, sync: bool) -> None:
        """Whether the next backward pass averages gradients over the processes, or only adds them up here."""
        if isinstance(parallel, DistributedDataParallel):
            parallel.require_backward_grad_sync = sync

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum over all processes."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def from_main(self, value: Value) -> Value:
        """What the main process has, on every process."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """What each process has, in the order of their ranks, on every process."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def gather_on_main(self, value: Any) -> list[Any]:
        """What each process has, in the order of their ranks, on the main one; nothing on the others."""
        if self.world_size == 1:
            return [value]
        values: list[Any] | None = [None] * self.world_size if self.is_main else None
        dist.gather_object(value, values)
        return values or []

    def free_memory(self) -> int:
        """Bytes that this process may still take on its device."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return host_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def host_memory() -> int:
    """Bytes that are free in the machine's own memory, whatever computes; 8 GB where nobody says."""
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []  # only Linux says
    kibibytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * kibibytes[0] if kibibytes else 8 * 2**30


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16, rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def wants_bf16(precision: Precision, device: str) -> bool:
    """What --precision means on this device."""
    return has_fast_bf16(choose_device(device)) if precision == "auto" else precision == "bf16"


def choose_device(name: str) -> torch.device:
    """The device of an option's text: auto, cpu, cuda or cuda:N.

    Raises:
        VerydeepError: it is unknown, or this machine has none.
    """
    local = os.environ.get("LOCAL_RANK", "0")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{local}" if name == "cuda" else name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise VerydeepError(f"--device {name} is not known: write auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise VerydeepError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; try cpu.")
    return device


@contextmanager
def start(
    *,
    device: str = "auto",
    bf16: bool = False,
    num_workers: int | None = None,
    deterministic: bool = False,
) -> Iterator[Runtime]:
    """Set this process up, join the others that torchrun started with it, and leave them at the end.

    Raises:
        VerydeepError: the device does not exist, or another process ended.
    """
    _keep_freed_memory()
    chosen = choose_device(device)
    cores = available_cores()
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        torch.backends.cudnn.allow_tf32 = bf16  # fp32 means fp32
    elif local > 1:
        torch.set_num_threads(max(1, cores // local))
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if num_workers is None:
        # On a CPU the net needs the cores itself: on two of them a second worker made training three times slower.
        share = cores // local
        num_workers = max(1, min(16, share if chosen.type == "cuda" else share // 8))
    if world_size > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Runtime(chosen, bf16, rank, world_size, num_workers)
    except RuntimeError as error:
        if world_size == 1 or "by peer" not in str(error):  # closed, or reset
            raise
        raise VerydeepError(f"Process {rank} ends, as another one did, which tells why.") from None
    finally:
        if world_size > 1:
            dist.destroy_process_group()


def available_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def in_group() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ


def launched(devices: int) -> bool:
    """Whether several processes were asked for, and have done it all by now; within one of them, no.

    Raises:
        SystemExit: as ``launch``.
    """
    if devices == 1 or in_group():
        return False
    launch(devices, sys.argv[1:])
    return True


def launch(num_processes: int, arguments: Sequence[str]) -> None:
    """Run the command line again in that many processes of this machine, by torchrun's own launcher.

    Raises:
        SystemExit: with the exit code of the first process that failed, or 128 and the signal that asked to stop.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.run import main as torchrun  # noqa: PLC0415

    # What went wrong has been told by the process itself, in one sentence.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        torchrun(["--standalone", f"--nproc-per-node={num_processes}", "-m", "verydeep.cli", *arguments])
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        sys.exit(code if code > 0 else 128 - code)
    except SignalException as stop:
        sys.exit(128 + stop.sigval)


class StopRequest:
    """Remembers SIGINT or SIGTERM until the loop asks, so that it can save first; a second one acts at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before: dict[int, Callable[..., Any] | int | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        for each, handler in self._before.items():
            signal.signal(each, handler)


def release_freed_memory() -> None:
    """Hand back what ``start`` told glibc to keep, before processes are forked.

    While a child lives, every page that its parent writes anew is copied first. With the memory of D's activations at
    Q=512 kept, that made the batch after the start of a decoding worker twice as slow (10.3 s in place of 5.3).
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks: nearly doubles the speed of convolutions on CPUs (measured)."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20)):
                mallopt(option, value)
