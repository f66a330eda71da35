// Vectors of the instruction set that this file is compiled for: 16 floats (AVX-512) or 8 (AVX2). Included inside a
// namespace of the instruction set, so that no two sets share a function.

#ifdef __AVX512F__
constexpr int LANES = 16;
constexpr int TILES = 14;  // 14 x 2 sums, 2 weights and 1 input fill the 32 registers
#else
constexpr int LANES = 8;
constexpr int TILES = 6;   // 6 x 2 sums, 2 weights and 1 input fill the 16 registers
#endif
constexpr int PANEL = 2 * LANES;      // outputs of one product
constexpr int PARTS = BLOCK / LANES;  // vectors of one channel block

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t IntVector __attribute__((vector_size(4 * LANES)));

// A bool as a type.
template <bool VALUE>
struct Flag {
    static constexpr bool value = VALUE;
};

static inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
static inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
static inline Vector zero() { return Vector{}; }

// One word in all lanes, bit by bit: it may be a pair of bf16. Straight from memory, which costs no arithmetic.
static inline Vector broadcast(const float* p) {
#ifdef __AVX512F__
    return (Vector)_mm512_set1_ps(*p);
#else
    return (Vector)_mm256_broadcast_ss(p);
#endif
}

// max(0, v), and NaN where v is NaN.
static inline Vector rectify(Vector v) { return v < zero() ? zero() : v; }

// The larger of two numbers, and NaN where one of them is NaN.
static inline Vector larger(Vector a, Vector b) {
    Vector m = a > b ? a : b;  // b where either is NaN
    return a == a ? m : a;
}

// Two numbers as bf16, rounded to the nearest even, in one 32-bit word: `low` in the lower half.
static inline Vector pair_bf16(Vector low, [[maybe_unused]] Vector high) {
#ifdef __AVX512BF16__
    __m512i a = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)low));
    __m512i b = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)high));
    return (Vector)_mm512_or_si512(a, _mm512_slli_epi32(b, 16));
#else
    return low;
#endif
}

// The two numbers of such a word.
static inline Vector low_of_pair(Vector pair) { return (Vector)((IntVector)pair << 16); }
static inline Vector high_of_pair(Vector pair) { return (Vector)((IntVector)pair & int32_t(0xffff0000)); }

// sum + low * low' + high * high' of pairs of bf16.
static inline Vector multiply_pairs(Vector sum, [[maybe_unused]] Vector a, [[maybe_unused]] Vector b) {
#ifdef __AVX512BF16__
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    return sum;
#endif
}

static inline uint32_t round_bf16(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    if (value != value) return 0x7fc0;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

// Two numbers as bf16 in the bits of one float, as pair_bf16.
static inline float word_bf16(float low, float high) {
    uint32_t word = round_bf16(low) | round_bf16(high) << 16;
    float result;
    __builtin_memcpy(&result, &word, 4);
    return result;
}

static inline void pack_bias(const float* bias, Weights& packed) {
    for (int o = 0; o < packed.output_panels * PANEL; o++) packed.bias[o] = bias && o < packed.outputs ? bias[o] : 0;
}
