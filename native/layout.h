// How activations lie in memory, and the arguments of every layer's kernel. Shared by all instruction sets.
#pragma once
#include <cstddef>
#include <cstdint>

constexpr int BLOCK = 16;  // channels that lie next to each other: 64 bytes, a cache line

// Activations: [image][channel block][row][column][16]. Maps that feed a padded convolution have a border of zeros: one
// row and column before the image (3x3) or two (5x5), and after it as many as the last Winograd tile reads.
struct Map {
    float* data;
    int64_t images, blocks, height, width;
    int64_t rows, columns;  // with the border
    int64_t border;         // rows and columns before the image

    float* at(int64_t image, int64_t block, int64_t y, int64_t x) const {
        return data + (((image * blocks + block) * rows + y + border) * columns + x + border) * BLOCK;
    }
    int64_t floats() const { return images * blocks * rows * columns * BLOCK; }
};

// Run body(context, thread) on that many threads, and wait for all (parallel.cpp).
void run_parallel(int threads, void (*body)(void* context, int thread), void* context);

template <class Body>
static inline void parallel(int threads, Body&& body) {
    run_parallel(threads, [](void* context, int thread) { (*static_cast<Body*>(context))(thread); }, &body);
}

// The next number of a counter that threads share.
static inline int64_t claim(int64_t& counter) { return __atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED); }

// Images (count, 3, height, width) as the caller has them; strides in numbers. `mean` is subtracted.
struct Images {
    const float* data;
    const int64_t* strides;
    const float* mean;
    int64_t height, width;
};

// Weights (outputs, inputs, side, side) as the caller has them; strides in numbers.
struct Source {
    const float* data;
    int64_t strides[4];

    float at(int64_t output, int64_t input, int64_t row, int64_t column) const {
        return data[output * strides[0] + input * strides[1] + row * strides[2] + column * strides[3]];
    }
};

struct Weights {
    void* packed;    // panels in the order in which the layer reads them
    float* bias;     // padded with zeros to whole panels
    int inputs, outputs;
    int input_blocks, output_panels;
    int tile, side;  // Winograd's output tile; the side of the kernel
    bool filtered;   // of a dense layer: for tiles of positions (dense.h)
    int64_t bytes;
};

struct Scratch {
    float* shared;        // transformed input or packed rows that all threads read
    float* own;           // one part for each thread
    int64_t own_floats;   // of each part
    int threads;
};

struct Kernels {
    const char* name;
    int block_tiles;      // rows of one product: Winograd tiles, or positions of a dense layer
    int panel_outputs;    // outputs of one product
    void (*pack_winograd)(const Source& weights, const float* bias, bool bf16, Weights& packed, int threads);
    void (*pack_dense)(const Source& weights, const float* bias, bool bf16, Weights& packed, int threads);
    void (*pack_first)(const Source& weights, const float* bias, Weights& packed);
    // Floats of scratch: shared by all threads, and of each thread's own.
    void (*winograd_scratch)(const Map& in, const Weights& weights, bool bf16, int threads, int64_t* floats);
    void (*dense_scratch)(const Map& in, const Weights& weights, bool bf16, int threads, int64_t* floats);
    int64_t (*first_own)(const Map& out, const Weights& weights);
    int64_t (*first_two_own)(const Map& in, const Weights& weights, bool bf16, int threads);
    void (*first)(const Images& images, const Map& out, const Weights& weights, bool relu, Scratch& scratch);
    void (*first_two)(const Images& images, const Weights& first, bool first_relu, const Map& in, const Map& out,
                      const Weights& weights, bool bf16, bool relu, int pool, Scratch& scratch);
    void (*winograd)(const Map& in, const Map& out, const Weights& weights, bool bf16, bool relu, int pool,
                     Scratch& scratch);
    void (*dense)(const Map& in, const Map& out, const Weights& weights, bool bf16, bool relu, Scratch& scratch);
    void (*pool)(const Map& in, const Map& out, int threads);
    void (*relu)(const Map& map, int threads);
    float (*multiply_registers)(bool bf16, int64_t rounds);  // for the processor's peak
    int64_t peak_operations;                                 // of a round, in fp32
    void (*lrn)(const Map& in, const Map& out, int channels, int threads);
};

extern const Kernels AVX2_KERNELS, AVX512_KERNELS, AVX512_BF16_KERNELS;
const Kernels& kernels_of(int instruction_set);  // in instruction_sets.cpp
