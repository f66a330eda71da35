"""The engine's C++ test without Python, under the compiler's sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

NATIVE = Path(__file__).parents[2] / "native"
COMPILER = shutil.which("g++") or shutil.which("clang++")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma")
SETS = {"avx2": ("-mavx2", "-mfma"), "avx512": AVX512, "avx512_bf16": (*AVX512, "-mavx512bf16")}
CAPABILITIES = {"avx2": "avx2", "avx512": "avx512_f", "avx512_bf16": "avx512_bf16"}
"""Instruction set -> PyTorch's name of what a processor needs for it."""


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(sanitizer: str, tmp_path: Path) -> None:
    """Threads are of the standard library: ThreadSanitizer does not know OpenMP's barriers."""
    common = ["-O1", "-std=c++17", "-pthread", "-DVD_STD_THREADS"]
    flags = [*common, "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    runs, objects = torch.cpu.get_capabilities(), []
    for name, own in SETS.items():
        objects.append(tmp_path / f"{name}.o")
        names = [f"-DNAMESPACE={name}", f"-DTABLE={name.upper()}_KERNELS", f'-DNAME="{name}"']
        watched = flags if runs.get(CAPABILITIES[name]) else common  # watching takes minutes to compile
        compile_(*watched, *own, *names, "-c", NATIVE / "kernels.cpp", "-o", objects[-1])
    program = tmp_path / "driver"
    sources = [NATIVE / name for name in ("test_driver.cpp", "net.cpp", "instruction_sets.cpp", "parallel.cpp")]
    compile_(*flags, *sources, *objects, "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "largest error" in done.stdout, done.stdout + done.stderr


def compile_(*arguments: object) -> None:
    done = subprocess.run([str(COMPILER), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
