// The product that takes nearly all of the time: T rows of numbers times one panel of weights, PANEL outputs wide.
//
// rows: [step block][T][16], weights: [step block][16][PANEL], sums: [T][PANEL]. All sums stay in registers, and are
// added to those in memory at the end, if ADD; each number
// of the rows is broadcast once and feeds two multiply-adds. In bf16 every 32-bit word holds two numbers.

// What a product fetches into the second cache while it computes: weights that are read later. Each product of the same
// weights fetches its share, so that reading memory takes all of the time.
struct Ahead {
    const float* at;
    int64_t advance;  // floats for each step of the product; 0: nothing

    // The share of one of so many products, which take `steps` each, in `floats` weights.
    static Ahead share(const float* weights, int64_t floats, int64_t steps, int64_t products, int64_t product) {
        int64_t advance = (floats + products * steps - 1) / (products * steps);
        return {weights + product * steps * advance, advance};
    }
};
constexpr int64_t LINE = 16;  // floats of a cache line

template <int T, bool BF16, bool ADD, int LINES>
static inline void multiply(const float* rows, const float* weights, float* sums, int64_t blocks,
                            [[maybe_unused]] Ahead ahead) {
    Vector a[T], b[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; t++) a[t] = b[t] = zero();
    for (int64_t block = 0; block < blocks; block++, rows += T * BLOCK) {
#pragma GCC unroll 2
        for (int step = 0; step < BLOCK; step++, weights += PANEL) {
            if (LINES > 0) __builtin_prefetch(ahead.at, 0, 2);
            if (LINES > 1) __builtin_prefetch(ahead.at + LINE, 0, 2);
            ahead.at += ahead.advance;
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
        store(sums + t * PANEL, ADD ? load(sums + t * PANEL) + a[t] : a[t]);
        store(sums + t * PANEL + LANES, ADD ? load(sums + t * PANEL + LANES) + b[t] : b[t]);
    }
}

// Multiply-adds on registers alone, as many as a processor can do at most: OPERATIONS for each round, or twice as many in
// bf16. Returns a number that depends on all of them.
constexpr int PEAK_SUMS = 2 * TILES - 4;
constexpr int64_t PEAK_OPERATIONS = 2 * PEAK_SUMS * LANES;

static float multiply_registers(bool bf16, int64_t rounds) {
    Vector sums[PEAK_SUMS], x = zero() + 0.5f, y = zero() + 1.0f / float(rounds);
    for (int i = 0; i < PEAK_SUMS; i++) sums[i] = zero() + float(i);
    auto run = [&](auto step) {
        for (int64_t round = 0; round < rounds; round++)
#pragma GCC unroll 32
            for (int i = 0; i < PEAK_SUMS; i++) sums[i] = step(sums[i]);
    };
    if (bf16)
        run([&](Vector sum) { return multiply_pairs(sum, x, y); });
    else
        run([&](Vector sum) { return sum + x * y; });
    for (int i = 1; i < PEAK_SUMS; i++) sums[0] += sums[i];
    return sums[0][0];
}

// The same for a number of rows that is known at run time.
template <bool BF16, bool ADD>
static void multiply_rows(int count, const float* rows, const float* weights, float* sums, int64_t blocks, Ahead ahead) {
#define CASE(T)                                                                                          \
    case T:                                                                                              \
        return ahead.advance > LINE ? multiply<T, BF16, ADD, 2>(rows, weights, sums, blocks, ahead)      \
               : ahead.advance > 0  ? multiply<T, BF16, ADD, 1>(rows, weights, sums, blocks, ahead)      \
                                    : multiply<T, BF16, ADD, 0>(rows, weights, sums, blocks, ahead);
    switch (count) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if defined(__AVX512F__)
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#endif
    }
#undef CASE
}
