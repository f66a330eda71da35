// The instruction sets of this processor, the kernels that use them, and how many multiply-adds they reach at most.
#include <algorithm>
#include <chrono>
#include <vector>

#include "engine.h"
#include "layout.h"

const Kernels& kernels_of(int instruction_set) {
    const Kernels* tables[] = {nullptr, &AVX2_KERNELS, &AVX512_KERNELS, &AVX512_BF16_KERNELS};
    return *tables[instruction_set];
}

extern "C" {

int vd_instruction_set() {
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) return VD_AVX512_BF16;
    return avx512 ? VD_AVX512 : avx2 ? VD_AVX2 : VD_NOTHING;
}

double vd_measure_peak(int instruction_set, int bf16, int num_threads) {
    const Kernels& kernels = kernels_of(instruction_set);
    const int64_t rounds = 1000000;
    double least = 1e9;
    for (int repeat = 0; repeat < 5; repeat++) {
        std::vector<float> results(num_threads);
        auto begin = std::chrono::steady_clock::now();
        parallel(num_threads, [&](int thread) { results[thread] = kernels.multiply_registers(bf16, rounds); });
        double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (results[0] > 0) least = std::min(least, seconds);
    }
    return double(rounds * kernels.peak_operations * (bf16 ? 2 : 1) * num_threads) / least;
}
}
