// Threads: OpenMP's, of the runtime that PyTorch has loaded, so that one process has one pool; or std::thread, for
// ThreadSanitizer, which does not know OpenMP's barriers.
#include "layout.h"

#ifdef VD_STD_THREADS
#include <thread>
#include <vector>

void run_parallel(int threads, void (*body)(void*, int), void* context) {
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; thread++) others.emplace_back(body, context, thread);
    body(context, 0);
    for (auto& other : others) other.join();
}
#else
#include <omp.h>

void run_parallel(int threads, void (*body)(void*, int), void* context) {
    if (threads == 1) return body(context, 0);
    // OpenMP may start fewer threads than asked for, and bodies are told apart by their number.
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; thread++) body(context, thread);
}
#endif
