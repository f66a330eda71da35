"""The CPU engine: a net's forward pass by Winograd convolutions in C++ (docs/cpu-engine.md).

``CpuNet`` computes what ``VGG`` computes in evaluation mode. Its weights are packed once; any number of threads may run
it at once. The compiled library is optional: without it, or on another processor, PyTorch computes.
"""

import ctypes
import functools
import platform
import sys
import threading
import weakref
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from verydeep.errors import ResourceError
from verydeep.models.vgg import VGG, check_layer

InstructionSet = Literal["avx2", "avx512", "avx512_bf16"]

LIBRARY = "libverydeep.so"

_KINDS = {"first": 0, "winograd": 1, "dense": 2}
_STAGES = {"conv": 0, "relu": 1, "norm": 2, "pool": 3}
_POOLING = {"floor": 1, "ceil": 2}
INSTRUCTION_SETS: tuple[InstructionSet, ...] = ("avx2", "avx512", "avx512_bf16")
"""Those that the engine has kernels for, from the narrowest to the widest."""
_OUT_OF_MEMORY, _TOO_SMALL = 1, 2


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("kind", "inputs", "outputs", "side", "relu", "norm", "pool")),
        *((name, ctypes.c_int32) for name in ("tile", "bf16")),
        ("weights", ctypes.c_void_p),
        ("strides", ctypes.c_int64 * 4),
        ("bias", ctypes.c_void_p),
    ]


class _Result(ctypes.Structure):
    _fields_ = [("layer", ctypes.c_int32), ("stage", ctypes.c_int32), ("array", ctypes.c_void_p)]


def _find_library() -> Path | None:
    # An editable installation has the sources in one folder of the package, and what was compiled in another.
    folders = [Path(folder) for folder in sys.modules["verydeep"].__path__]
    return next((folder / LIBRARY for folder in folders if (folder / LIBRARY).exists()), None)


@functools.cache
def _library() -> ctypes.CDLL | None:
    """Return the compiled engine, or None where it was not built or cannot be loaded."""
    path = _find_library()
    if path is None:
        return None
    try:
        # The engine's threads are those of PyTorch's own OpenMP: two runtimes would compete for the cores.
        for runtime in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"):
            ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.vd_create.restype = pointer
    library.vd_create.argtypes = [ctypes.c_int, ctypes.POINTER(_Layer), ctypes.c_int, pointer, ctypes.c_int]
    library.vd_destroy.argtypes = [pointer]
    library.vd_measure_peak.restype = ctypes.c_double
    for function in (library.vd_weight_bytes, library.vd_workspace_bytes):
        function.restype, function.argtypes = number, [pointer]
    library.vd_shape.argtypes = [pointer, number, number, ctypes.c_int, ctypes.c_int, ctypes.POINTER(number)]
    library.vd_run.argtypes = [
        *(pointer, pointer, number, number, number, ctypes.POINTER(number)),
        *(ctypes.POINTER(_Result), ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_double)),
    ]
    return library


def find_instruction_set() -> InstructionSet | None:
    """Return the widest instruction set of this processor that the engine can use; None: PyTorch computes."""
    library = _library()
    number = 0 if library is None else library.vd_instruction_set()
    return INSTRUCTION_SETS[number - 1] if number else None


def can_compute(*, bf16: bool) -> bool:
    """Whether the engine is there, and this processor has its instructions for this precision."""
    return find_instruction_set() in (INSTRUCTION_SETS[-1:] if bf16 else INSTRUCTION_SETS)


def describe_engine() -> str:
    """Return one line about the engine: its instruction set and precisions here, or why it is missing."""
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        return "CPU engine: only for Linux on x86-64, so PyTorch computes"
    if _find_library() is None:
        return "CPU engine: missing, so PyTorch computes; install a C++ compiler, then install verydeep again"
    if _library() is None:
        return "CPU engine: cannot be loaded beside this PyTorch, so PyTorch computes"
    instruction_set = find_instruction_set()
    if instruction_set is None:
        return "CPU engine: not for this processor, which lacks AVX2, so PyTorch computes"
    return f"CPU engine: {instruction_set}, {'fp32 and bf16' if can_compute(bf16=True) else 'fp32'}"


def measure_peak(*, bf16: bool) -> float:
    """Return the operations per second that all threads can do at most, 2 for a multiply-add: on registers alone."""
    library, instruction_set = _library(), find_instruction_set()
    assert library is not None and instruction_set is not None
    code = 1 + INSTRUCTION_SETS.index(instruction_set)
    return float(library.vd_measure_peak(code, int(bf16), torch.get_num_threads()))


class CpuNet:
    """A net packed for the CPU engine. Takes and returns what ``VGG`` does, float32 on the CPU.

    Its results do not depend on the batch, nor on the number of threads.
    """

    def __init__(self, model: VGG, *, bf16: bool = False, instruction_set: InstructionSet | None = None) -> None:
        """Pack the weights of a net, which may be freed afterwards.

        Args:
            model: A net on the CPU.
            bf16: Products in bf16 with float32 sums, as ``choose_tile`` says for each layer; needs avx512_bf16.
            instruction_set: None: the widest.

        Raises:
            ResourceError: Memory runs out.
        """
        library = _library()
        assert library is not None
        self.network, self.crop, self.num_classes = model.network, model.crop, model.num_classes
        self.ceil_mode = model.ceil_mode
        self.instruction_set = instruction_set or find_instruction_set()
        assert self.instruction_set is not None and (not bf16 or self.instruction_set == "avx512_bf16")
        self.bf16 = bf16
        self._inputs = threading.local()
        self._outputs: dict[str, tuple[int, str]] = {}
        """Name of a layer's output -> number of the engine's layer, and its stage."""
        layers, tensors = self._describe_layers(model)
        mean = model.mean_rgb.detach().float().contiguous()
        code = 1 + INSTRUCTION_SETS.index(self.instruction_set)
        self._net = library.vd_create(
            code, (_Layer * len(layers))(*layers), len(layers), mean.data_ptr(), torch.get_num_threads()
        )
        # The engine packs a 7x7 kernel once more when a large map comes.
        self._unpacked = [pair for layer, pair in zip(layers, tensors, strict=True) if layer.side == 7]
        if not self._net:
            raise ResourceError("Memory ran out for the packed weights of the net: free some, or use `kernels=torch`.")
        weakref.finalize(self, library.vd_destroy, self._net).atexit = False  # another thread may still compute

    def __call__(self, images: Tensor) -> Tensor:
        """Return the class score map (N, K, h, w) of images (N, 3, H, W), RGB 0-255; of a trunk, pool5's output."""
        last = "fc8" if self.num_classes else "pool5"
        return self._run(images, [last])[last]

    @property
    def layer_names(self) -> list[str]:
        """The layers whose outputs ``activations`` can return, in order."""
        return list(self._outputs)

    def logits(self, images: Tensor) -> Tensor:
        """Return scores (N, K), averaged over positions. fc8 is linear, so its input is averaged instead."""
        return self._run(images, ["fc8"], average=True)["fc8"][:, :, 0, 0]

    def activations(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return the outputs (N, C, h, w) of layers by name, as ``VGG.activations``.

        Raises:
            OptionError: the net has no such layer.
        """
        for name in layers:
            check_layer(name, self.layer_names, self.network)
        return self._run(images, list(layers))

    def memory_bytes(self) -> tuple[int, int]:
        """Return the bytes of packed weights and of workspaces."""
        library = _library()
        assert library is not None
        return library.vd_weight_bytes(self._net), library.vd_workspace_bytes(self._net)

    def time_layers(self, images: Tensor) -> dict[str, float]:
        """Return the seconds that each layer with weights takes on its way to the scores, with what follows it.

        Where the first two layers run as one, the first has 0.
        """
        names = [name for name, (_, stage) in self._outputs.items() if stage == "conv"]
        seconds = (ctypes.c_double * len(names))()
        self._run(images, names[-1:], seconds=seconds)
        return dict(zip(names, seconds, strict=True))

    def _run(
        self,
        images: Tensor,
        names: list[str],
        *,
        average: bool = False,
        seconds: ctypes.Array[ctypes.c_double] | None = None,
    ) -> dict[str, Tensor]:
        library = _library()
        assert library is not None
        images = self._as_float(images.detach())
        count, _, height, width = images.shape
        results, arrays = (_Result * len(names))(), {}
        for place, name in enumerate(names):
            layer, stage = self._outputs[name]
            shape = (ctypes.c_int64 * 3)()
            if library.vd_shape(self._net, height, width, layer, _STAGES[stage], shape):
                raise ValueError(f"images of {height}x{width} pixels are too small for {name} at crop {self.crop}")
            sides = (1, 1) if average else (shape[1], shape[2])
            arrays[name] = torch.empty(count, shape[0], *sides)
            results[place] = _Result(layer, _STAGES[stage], arrays[name].data_ptr())
        strides = (ctypes.c_int64 * 4)(*images.stride())
        error = library.vd_run(
            *(self._net, images.data_ptr(), count, height, width, strides),
            *(results, len(names), int(average), torch.get_num_threads(), seconds),
        )
        if error == _OUT_OF_MEMORY:
            raise MemoryError(f"{count} images of {height}x{width} pixels")
        assert error == 0
        return arrays

    @torch.inference_mode()
    def _as_float(self, images: Tensor) -> Tensor:
        """Return images (N, 3, H, W) as float32, in memory that this thread uses again.

        New memory for each batch leaves holes that the next batch just does not fit into: glibc looks for a little more
        than an aligned block takes. A megabyte was lost for each image of crop 224.
        """
        if images.dtype == torch.float32:
            return images
        pixels, size = images.permute(0, 2, 3, 1), images.numel()
        memory: Tensor | None = getattr(self._inputs, "memory", None)
        if memory is None or len(memory) < size:
            self._inputs.memory = memory = torch.empty(size)
        return memory[:size].view(pixels.shape).copy_(pixels).permute(0, 3, 1, 2)

    def _describe_layers(self, model: VGG) -> tuple[list[_Layer], list[tuple[Tensor, Tensor]]]:
        """Return the engine's layers, and the weights and biases that they point to."""
        layers: list[_Layer] = []
        tensors: list[tuple[Tensor, Tensor]] = []
        for group in _group_layers(model):
            weight_layer = group[0]
            module = model.get_submodule(weight_layer)
            weights, bias = (module.get_parameter(name).detach().float() for name in ("weight", "bias"))
            tensors.append((weights, bias))
            side = weights.shape[2]
            kind = "first" if not layers else "winograd" if weight_layer.startswith("conv") and side > 1 else "dense"
            follows = {name.rstrip("0123456789_"): name for name in group[1:]}
            pooling = _POOLING["ceil" if model.ceil_mode else "floor"] if "pool" in follows else 0
            use_bf16 = self.bf16 and takes_bf16(weight_layer, side)
            number = len(layers)
            layers.append(
                _Layer(
                    kind=_KINDS[kind],
                    inputs=weights.shape[1],
                    outputs=weights.shape[0],
                    side=side,
                    relu=int("relu" in follows),
                    norm=int("norm" in follows),
                    pool=pooling,
                    tile=choose_tile(weight_layer, bf16=use_bf16),
                    bf16=int(use_bf16),
                    weights=weights.data_ptr(),
                    strides=weights.stride(),
                    bias=bias.data_ptr(),
                )
            )
            self._outputs[weight_layer] = number, "conv"
            self._outputs |= {name: (number, stage) for stage, name in follows.items() if stage in _STAGES}
            if "drop" in follows:
                self._outputs[follows["drop"]] = number, "relu"
        return layers, tensors


TestedNet = VGG | CpuNet
"""A net in memory, ready for testing."""


def choose_tile(layer: str, *, bf16: bool) -> int:
    """Return the side of Winograd's output tile of 3x3 kernels: 4, which saves three quarters of the products, or 2.

    In bf16 the last block has 2: with 4 throughout, pool5 errs more than PyTorch's bf16 (docs/cpu-engine.md).
    """
    return 2 if bf16 and layer.startswith("conv5") else 4


def takes_bf16(layer: str, side: int) -> bool:
    """Whether the products of a layer are bf16 in a bf16 net.

    Those of conv1_1 are not, nor those of a last 5x5 convolution: with it, pool5 of B-5x5 errs by 0.54%, without by
    0.41%, and PyTorch's bf16 by 0.42%.
    """
    return layer != "conv1_1" and not (side == 5 and layer.startswith("conv5"))


def _group_layers(model: VGG) -> Iterator[list[str]]:
    """Yield each layer with weights together with the layers after it that have none."""
    group: list[str] = []
    for name, _ in model.named_children():
        if name.startswith(("conv", "fc")) and group:
            yield group
            group = []
        group.append(name)
    yield group
