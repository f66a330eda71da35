"""Devices, precision and processes (data parallelism, section 3.3): no other module names them."""

import inspect
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from verydeep.data.pixels.workers import explain_killed_worker
from verydeep.engine.joining import join
from verydeep.engine.memory import explain_lack_of_files, explain_lack_of_memory, host_memory
from verydeep.engine.process import owns_process, require_determinism, set_up_torch
from verydeep.errors import OptionError, OtherProcessError, ResourceError
from verydeep.machine import available_cores
from verydeep.models.cpu_engine import can_compute, describe_engine
from verydeep.models.vgg import VGG

APPEARS_WITHIN = 60
"""Seconds: network file systems may remember for this long that a file was missing."""

_LOST = re.compile(r"by peer|gloo|nccl", re.IGNORECASE)
"""Words of an error of PyTorch while processes exchange values: one of them has ended."""

Value = TypeVar("Value")

Precision = Literal["auto", "bf16", "fp32"]
"""``auto`` is bf16 where the hardware multiplies it."""

Kernels = Literal["auto", "torch", "native"]
"""PyTorch's, or the CPU engine's; ``auto`` until a job knows what pays."""


@dataclass(frozen=True)
class Runtime:
    """One process of a job: its device, its precision, and its place among the processes."""

    device: torch.device
    bf16: bool
    rank: int = 0
    world_size: int = 1
    num_workers: int = 0
    """Number of processes that decode images for this one."""
    kernels: Kernels = "torch"
    """The kernels that test nets; training has PyTorch's."""
    has_engine: bool = False
    """Whether the CPU engine can compute in this precision, on all processes."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    @property
    def precision(self) -> str:
        """Name of the number format for reports."""
        if self.bf16:
            return "bf16"
        return "tf32" if self.device.type == "cuda" and torch.backends.cudnn.allow_tf32 else "fp32"

    @property
    def kernel_conditions(self) -> dict[str, str]:
        """The kernels, where caches need to know them: bits differ from PyTorch's."""
        return {} if self.kernels == "torch" else {"kernels": self.kernels}

    @property
    def pin_memory(self) -> bool:
        """Whether batches lie in page-locked memory, from which a GPU copies them while it computes."""
        return self.device.type == "cuda"

    @property
    def report_every(self) -> int:
        """Number of steps between two reports: reading a loss from a GPU makes it wait."""
        return 10 if self.device.type == "cuda" else 1

    @property
    def batch_pixels(self) -> int:
        """Number of pixels of a batch of images in testing; larger batches gained nothing (measured)."""
        return (32 if self.device.type == "cuda" else 8) * 256 * 341

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in bf16 over fp32 weights, or change nothing."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def place(self, model: VGG) -> VGG:
        """Move a net to this device, in the memory format that convolutions are fastest in."""
        return model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def move(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to this device."""
        return tensor.to(self.device, non_blocking=True)

    def wait(self) -> None:
        """Wait until the device is done, so that time can be measured."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextmanager
    def tuned(self) -> Iterator[None]:
        """Let cuDNN try its algorithms on each new shape, in a process of ours that need not repeat bit for bit.

        This pays in training, which has one shape, and costs in testing, which has hundreds.
        """
        if self.device.type != "cuda" or torch.are_deterministic_algorithms_enabled() or not owns_process():
            yield
            return
        torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = False

    def parallel(self, model: VGG) -> nn.Module:
        """Wrap a net so that its gradients are averaged over the processes."""
        if self.world_size == 1:
            return model
        # The one buffer, the mean, never changes. PyTorch 2.13 renamed the option that says so.
        parameters = inspect.signature(DistributedDataParallel).parameters
        once = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        options: dict[str, Any] = {once: False}
        return DistributedDataParallel(model, gradient_as_bucket_view=True, **options)

    def sync_gradients(self, parallel: nn.Module, sync: bool) -> None:
        """Choose whether the next backward pass averages gradients over the processes, or only adds them up here."""
        if isinstance(parallel, DistributedDataParallel):
            parallel.require_backward_grad_sync = sync

    def average_gradients(self, parallel: nn.Module) -> None:
        """Average the gradients over the processes, as a backward pass does that ``sync_gradients`` chooses."""
        for parameter in parallel.parameters():
            if self.world_size > 1 and parameter.grad is not None:
                dist.all_reduce(parameter.grad.div_(self.world_size))

    def sum(self, values: Tensor) -> Tensor:
        """Return the elementwise sum over all processes."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def from_main(self, value: Value) -> Value:
        """Return the value of the main process, on every process."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes in the order of their ranks, on every process."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def gather_on_main(self, value: Any) -> list[Any]:
        """Return the values of all processes in the order of their ranks on the main one, and [] on the others."""
        if self.world_size == 1:
            return [value]
        values: list[Any] | None = [None] * self.world_size if self.is_main else None
        dist.gather_object(value, values)
        return values or []

    def check_shared(self, folder: Path, remedy: str) -> None:
        """Make a folder and check that all processes see it, which machines without a common disk do not.

        Args:
            folder: The folder that the processes share.
            remedy: How to choose another folder, for the message.

        Raises:
            ResourceError: Some process does not see the folder.
        """
        if self.world_size == 1:
            return
        marker = folder / f".shared-{os.getpid()}-{time.time_ns()}"
        try:
            if self.is_main:
                folder.mkdir(parents=True, exist_ok=True)
                marker.touch()
            seen = self.gather(_appears(folder / self.from_main(marker.name)))
        finally:
            if self.is_main:
                marker.unlink(missing_ok=True)
        if not all(seen):
            raise ResourceError(
                f"{folder} is not the same folder for all {self.world_size} processes: put it where all machines see "
                f"it ({remedy}), or run on one machine."
            )

    def free_memory(self) -> int:
        """Return the bytes that this process may still take on its device."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return host_memory() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _appears(path: Path) -> bool:
    """Wait until a file that another machine has made appears; return whether it did."""
    end = time.monotonic() + APPEARS_WITHIN
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 rather than emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


def wants_bf16(precision: Precision, device: str) -> bool:
    """Whether this choice of precision means bf16 on this device."""
    return has_fast_bf16(choose_device(device)) if precision == "auto" else precision == "bf16"


def choose_device(name: str) -> torch.device:
    """Return the device that "auto", "cpu", "cuda" or "cuda:N" means.

    Raises:
        OptionError: There is no device of this name.
        ResourceError: This machine has no such device.
    """
    local = os.environ.get("LOCAL_RANK", "0")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{local}" if name == "cuda" else name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise OptionError(f"`device={name}` is unknown: choose auto, cpu, cuda or cuda:N.", "device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ResourceError(
            f"`device={name}` is not available: this machine has {torch.cuda.device_count() or 'no'} CUDA devices; "
            "try cpu."
        )
    return device


@contextmanager
def start(
    *,
    device: str = "auto",
    bf16: bool = False,
    num_workers: int | None = None,
    kernels: Kernels = "torch",
    deterministic: bool = False,
) -> Iterator[Runtime]:
    """Choose the device, join the other processes that torchrun started with this one, and leave them at the end.

    Nothing changes for the process of a Python caller, so that any thread may call this.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        bf16: Whether to compute in bf16.
        num_workers: Number of processes that decode images; ``None`` chooses by the machine.
        kernels: Kernels that test nets; "auto" lets each job choose.
        deterministic: Require algorithms that repeat bit for bit.

    Raises:
        ResourceError: The device does not exist, memory ran out, or a process that decodes was killed.
        OptionError: Not all processes would compute in the same precision, or ``deterministic`` is not possible.
        OtherProcessError: Another process ended.
    """
    chosen = choose_device(device)
    set_up_torch()
    if deterministic:
        require_determinism()
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if num_workers is None:
        # On a CPU the net needs the cores itself: on two of them a second worker made training three times slower.
        share = available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        num_workers = max(1, min(16, share if chosen.type == "cuda" else share // 8))
    runtime = Runtime(chosen, bf16, rank, world_size, num_workers)
    on_device = torch.cuda.device(chosen) if chosen.type == "cuda" else nullcontext()  # of this thread
    try:
        with on_device, _group(runtime):
            yield _set_kernels(runtime, kernels)
    except (RuntimeError, MemoryError, OSError) as error:
        if failure := explain_failure(error, runtime):
            raise failure from error
        raise


def _set_kernels(runtime: Runtime, kernels: Kernels) -> Runtime:
    """Return the runtime with these kernels, and with the engine that all processes have.

    Raises:
        OptionError: The CPU engine is required, and a process lacks it.
    """
    is_cpu = runtime.device.type == "cpu"
    has_engine = all(runtime.gather(is_cpu and can_compute(bf16=runtime.bf16)))
    if kernels == "native" and not has_engine:
        what = f"{runtime.precision} on this machine ({describe_engine()})" if is_cpu else f"on {runtime.device}"
        raise OptionError(f"`kernels=native` cannot compute {what}: choose `kernels=auto`.", "kernels")
    return replace(runtime, kernels=kernels, has_engine=has_engine)


def explain_failure(error: Exception, runtime: Runtime) -> ResourceError | None:
    """Return what an error means to a user if a process, memory or open files are missing; else None."""
    return (
        explain_killed_worker(error)
        or explain_lack_of_files(error)
        or explain_lack_of_memory(error, str(runtime.device))
    )


@contextmanager
def _group(runtime: Runtime) -> Iterator[None]:
    """Join the processes of the job."""
    if runtime.world_size == 1:
        yield
        return
    join("nccl" if runtime.device.type == "cuda" else "gloo", runtime.rank, runtime.world_size)
    try:
        if len(set(runtime.gather(runtime.bf16))) > 1:
            raise OptionError(
                f"Some of the {runtime.world_size} processes have hardware for bf16 and others do not: give "
                "`precision`.",
                "precision",
            )
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not _LOST.search(str(error)):
            raise
        raise OtherProcessError(f"Process {runtime.rank} ends because another process ended.") from None
    finally:
        dist.destroy_process_group()
