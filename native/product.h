// The product that takes nearly all of the time: T rows of numbers times one panel of weights, PANEL outputs wide.
//
// rows: [step block][T][16], weights: [step block][16][PANEL], sums: [T][PANEL]. All sums stay in registers; each number
// of the rows is broadcast once and feeds two multiply-adds. In bf16 every 32-bit word holds two numbers.

template <int T, bool BF16, bool ADD, bool PREFETCH>
static inline void multiply(const float* rows, const float* weights, float* sums, int64_t blocks, int64_t distance) {
    Vector a[T], b[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) {
        a[t] = ADD ? load(sums + t * PANEL) : zero();
        b[t] = ADD ? load(sums + t * PANEL + LANES) : zero();
    }
    for (int64_t block = 0; block < blocks; block++, rows += T * BLOCK) {
#pragma GCC unroll 2
        for (int step = 0; step < BLOCK; step++, weights += PANEL) {
            if (PREFETCH) {
                __builtin_prefetch(weights + distance, 0, 2);
                if (PANEL * 4 > 64) __builtin_prefetch(weights + distance + 16, 0, 2);
            }
            Vector w = load(weights), v = load(weights + LANES);
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) {
                Vector x = broadcast(rows + t * BLOCK + step);
                a[t] = BF16 ? multiply_pairs(a[t], w, x) : a[t] + w * x;
                b[t] = BF16 ? multiply_pairs(b[t], v, x) : b[t] + v * x;
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) {
        store(sums + t * PANEL, a[t]);
        store(sums + t * PANEL + LANES, b[t]);
    }
}

// The same for a number of rows that is known at run time. `distance` in floats, to weights that are read later; 0: none.
template <bool BF16, bool ADD>
static void multiply_rows(int count, const float* rows, const float* weights, float* sums, int64_t blocks,
                          int64_t distance) {
#define CASE(T)                                                                                   \
    case T:                                                                                       \
        return distance ? multiply<T, BF16, ADD, true>(rows, weights, sums, blocks, distance)     \
                        : multiply<T, BF16, ADD, false>(rows, weights, sums, blocks, distance);
    switch (count) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if defined(__AVX512F__)
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#endif
    }
#undef CASE
}
