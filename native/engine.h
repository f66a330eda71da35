// The C interface of the CPU engine. A net's weights are packed once; then it runs on images of any size.
//
// A net is a list of convolutions and dense layers, each with what follows it: ReLU, local response normalization, 2x2
// pooling. A call names the results that it wants, by layer and stage, and computes no layer behind the last of them.
#pragma once
#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {

enum { VD_FIRST = 0, VD_WINOGRAD = 1, VD_DENSE = 2 };                    // kinds of layers
enum { VD_CONV = 0, VD_RELU = 1, VD_NORM = 2, VD_POOL = 3 };             // stages of a layer
enum { VD_POOL_NONE = 0, VD_POOL_FLOOR = 1, VD_POOL_CEIL = 2 };
enum { VD_OK = 0, VD_OUT_OF_MEMORY = 1, VD_TOO_SMALL = 2 };
enum { VD_NOTHING = 0, VD_AVX2 = 1, VD_AVX512 = 2, VD_AVX512_BF16 = 3 };  // instruction sets

struct VdLayer {
    int32_t kind;          // the first convolution; another 3x3 or 5x5 one with padding; a dense kernel without
    int32_t inputs;        // channels in
    int32_t outputs;       // channels out
    int32_t side;          // of the kernel: 7 for fc6 at crop 224; 1 for fc7, fc8 and 1x1 convolutions
    int32_t relu;          // 1: ReLU follows
    int32_t norm;          // 1: local response normalization follows
    int32_t pool;          // 2x2 max pooling follows: none, floor or ceil
    int32_t tile;          // of a 3x3 convolution: the side of Winograd's output tile, 4 or 2
    int32_t bf16;          // 1: products in bf16, sums in fp32
    const float* weights;  // (outputs, inputs, side, side)
    int64_t strides[4];    // of the weights, in numbers
    const float* bias;     // (outputs)
};

// A result: (images, channels, height, width) of one stage of one layer, written to the caller's array.
struct VdResult {
    int32_t layer;
    int32_t stage;
    float* array;
};

struct VdNet;

// Operations per second that all threads together can do at most, measured on registers alone; 2 for a multiply-add.
double vd_measure_peak(int instruction_set, int bf16, int num_threads);

// The widest instruction set of this processor that there are kernels for.
int vd_instruction_set();

// Pack the weights of a net. They may be freed afterwards, but for those of 7x7 kernels, which are packed once more when a
// large map comes. `mean` is subtracted from the three input channels. Returns null if memory runs out.
VdNet* vd_create(int instruction_set, const VdLayer* layers, int num_layers, const float* mean, int num_threads);
void vd_destroy(VdNet* net);

// Bytes of packed weights, and of the workspaces that calls have left for the next ones.
int64_t vd_weight_bytes(VdNet* net);
int64_t vd_workspace_bytes(VdNet* net);

// (channels, height, width) of one stage of one layer for images of this size.
int vd_shape(const VdNet* net, int64_t height, int64_t width, int layer, int stage, int64_t* shape);

// Run a net. `images` is (count, 3, height, width) float with `strides` in numbers. With `average`, the last layer's input
// is averaged over its positions first. The time of each layer is added to `seconds`, unless that is null;
// where the first two run as one, theirs is the second's. Several threads
// may run one net at once.
int vd_run(VdNet* net, const float* images, int64_t count, int64_t height, int64_t width, const int64_t* strides,
           const VdResult* results, int num_results, int average, int num_threads, double* seconds);
}
#pragma GCC visibility pop
