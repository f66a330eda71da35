"""Devices, precision and processes: the only place that names them (section 3.3's data parallelism)."""

import inspect
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from verydeep.engine.memory import host_memory, keep_freed_memory
from verydeep.errors import OtherProcessError, VerydeepError
from verydeep.models.vgg import VGG

PATIENCE = timedelta(hours=2)
"""How long a process waits for another that lists a million files, or has the larger ones; torchrun ends them all where
one dies."""

APPEARS_WITHIN = 60
"""Seconds: so long network file systems may remember that a folder or file was not there."""

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

    def check_shared(self, folder: Path, remedy: str) -> None:
        """Refuse a folder that not all processes see, as on machines without a common disk; it is made.

        Args:
            folder: into which they write, or out of which they read what another wrote.
            remedy: how it is put elsewhere, for the message.

        Raises:
            VerydeepError: that is so.
        """
        if self.world_size == 1:
            return
        sign = folder / f".shared-{os.getpid()}-{time.time_ns()}"
        try:
            if self.is_main:
                folder.mkdir(parents=True, exist_ok=True)
                sign.touch()
            seen = self.gather(_appears(folder / self.from_main(sign.name)))
        finally:
            if self.is_main:
                sign.unlink(missing_ok=True)
        if not all(seen):
            raise VerydeepError(
                f"{folder} is not the same folder to all {self.world_size} processes: put it where all of their "
                f"machines see it ({remedy}), or run on one machine."
            )

    def free_memory(self) -> int:
        """Bytes that this process may still take on its device."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return host_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _appears(path: Path) -> bool:
    """Whether a file that another machine has made is there by and by."""
    end = time.monotonic() + APPEARS_WITHIN
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


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
        VerydeepError: the device does not exist, or not all processes would compute in the same precision.
        OtherProcessError: another process ended.
    """
    keep_freed_memory()
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
    runtime = Runtime(chosen, bf16, rank, world_size, num_workers)
    try:
        if len(set(runtime.gather(bf16))) > 1:
            raise VerydeepError(
                f"Of the {world_size} processes some would compute in bf16, which their hardware is fast in, others in "
                "fp32: give --precision."
            )
        yield runtime
    except RuntimeError as error:
        if world_size == 1 or "by peer" not in str(error):  # closed, or reset
            raise
        raise OtherProcessError(f"Process {rank} ends, as another one did, which tells why.") from None
    finally:
        if world_size > 1:
            dist.destroy_process_group()


def available_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
