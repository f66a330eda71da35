"""The engine's C++ test without Python, under the compiler's sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "native"
COMPILER = shutil.which("g++") or shutil.which("clang++")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma")
SETS = {"avx2": ("-mavx2", "-mfma"), "avx512": AVX512, "avx512_bf16": (*AVX512, "-mavx512bf16")}


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler")
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(sanitizer: str, tmp_path: Path) -> None:
    """Threads are of the standard library: ThreadSanitizer does not know OpenMP's barriers."""
    flags = ["-O1", "-g", "-std=c++17", "-pthread", "-DVD_STD_THREADS", f"-fsanitize={sanitizer}"]
    flags += ["-fno-sanitize-recover=all"]
    objects = []
    for name, own in SETS.items():
        objects.append(tmp_path / f"{name}.o")
        names = [f"-DNAMESPACE={name}", f"-DTABLE={name.upper()}_KERNELS", f'-DNAME="{name}"']
        compile_(*flags, *own, *names, "-c", NATIVE / "kernels.cpp", "-o", objects[-1])
    program = tmp_path / "driver"
    sources = [NATIVE / name for name in ("test_driver.cpp", "net.cpp", "instruction_sets.cpp", "parallel.cpp")]
    compile_(*flags, *sources, *objects, "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "largest error" in done.stdout, done.stdout + done.stderr


def compile_(*arguments: object) -> None:
    done = subprocess.run([str(COMPILER), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
