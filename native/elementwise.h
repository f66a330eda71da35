// The first convolution, which reads the image itself, and layers without weights: pooling, ReLU, LRN.

// conv1_1 directly: 3 input channels are too few for Winograd's transforms to pay. A thread takes rows of one image,
// subtracts the mean and pads with zeros, then computes PIXELS neighbors of up to WIDE vectors of outputs at once.
#ifdef __AVX512F__
constexpr int PIXELS = 6, WIDE = 4;  // 24 sums of 32 registers
#else
constexpr int PIXELS = 6, WIDE = 2;  // 12 sums of 16 registers
#endif

static void pack_first(const Source& weights, const float* bias, Weights& packed) {
    pack_bias(bias, packed);
    int64_t outputs = int64_t(packed.output_panels) * PANEL;
    float* v = static_cast<float*>(packed.packed);  // [input][row][column][output]
    for (int64_t tap = 0; tap < packed.inputs * 9; tap++)
        for (int64_t o = 0; o < outputs; o++)
            v[tap * outputs + o] = o < packed.outputs ? weights.at(o, tap / 9, tap / 3 % 3, tap % 3) : 0;
}

template <int COUNT>
static void first_pixels(const float* image, int64_t plane, int64_t row, const float* v, int64_t outputs,
                         const float* bias, bool relu, int pixels, float* out, int64_t out_block) {
    Vector sums[PIXELS][COUNT];
    for (int p = 0; p < PIXELS; p++)
        for (int k = 0; k < COUNT; k++) sums[p][k] = load(bias + k * LANES);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                const float* x = image + c * plane + i * row + j;
                const float* w = v + ((c * 3 + i) * 3 + j) * outputs;
#pragma GCC unroll 8
                for (int p = 0; p < PIXELS; p++) {
                    Vector pixel = broadcast(x + p);
#pragma GCC unroll 4
                    for (int k = 0; k < COUNT; k++) sums[p][k] += pixel * load(w + k * LANES);
                }
            }
    for (int p = 0; p < pixels; p++)
        for (int k = 0; k < COUNT; k++) {
            int64_t channel = k * LANES;
            store(out + channel / BLOCK * out_block + p * BLOCK + channel % BLOCK, relu ? rectify(sums[p][k]) : sums[p][k]);
        }
}

constexpr int64_t FIRST_ROWS = 8;

static inline int64_t first_row_floats(int64_t width) { return width + 2 + PIXELS; }

static int64_t first_own(const Map& out) { return 3 * (FIRST_ROWS + 2) * first_row_floats(out.width); }

static void first(const float* images, const int64_t* strides, const float* mean, const Map& out, const Weights& weights,
                  bool relu, Scratch& scratch) {
    int64_t row = first_row_floats(out.width), plane = (FIRST_ROWS + 2) * row;
    int64_t bands = (out.height + FIRST_ROWS - 1) / FIRST_ROWS, outputs = int64_t(weights.output_panels) * PANEL;
    int64_t vectors = out.blocks * PARTS, out_block = out.rows * out.columns * BLOCK;
    const float* v = static_cast<const float*>(weights.packed);
    int64_t claimed = 0;
    parallel(scratch.threads, [&](int thread) {
        float* padded = scratch.own + thread * scratch.own_floats;
        for (int64_t item; (item = claim(claimed)) < out.images * bands;) {
            int64_t image = item / bands, top = item % bands * FIRST_ROWS;
            int64_t bottom = top + FIRST_ROWS < out.height ? top + FIRST_ROWS : out.height;
            for (int c = 0; c < 3; c++)
                for (int64_t y = top - 1; y <= bottom; y++) {
                    float* to = padded + c * plane + (y - top + 1) * row;
                    for (int64_t x = 0; x < row; x++) to[x] = 0;
                    if (y < 0 || y >= out.height) continue;
                    const float* from = images + image * strides[0] + c * strides[1] + y * strides[2];
                    for (int64_t x = 0; x < out.width; x++) to[x + 1] = from[x * strides[3]] - mean[c];
                }
            for (int64_t y = top; y < bottom; y++)
                for (int64_t x = 0; x < out.width; x += PIXELS) {
                    int pixels = int(out.width - x < PIXELS ? out.width - x : PIXELS);
                    const float* from = padded + (y - top) * row + x;
                    for (int64_t k = 0; k < vectors; k += WIDE) {
                        float* to = out.at(image, k / PARTS, y, x);
                        const float* w = v + k * LANES;
                        const float* b = weights.bias + k * LANES;
                        switch (vectors - k < WIDE ? vectors - k : WIDE) {
                            case 1: first_pixels<1>(from, plane, row, w, outputs, b, relu, pixels, to, out_block); break;
                            case 2: first_pixels<2>(from, plane, row, w, outputs, b, relu, pixels, to, out_block); break;
#ifdef __AVX512F__
                            case 3: first_pixels<3>(from, plane, row, w, outputs, b, relu, pixels, to, out_block); break;
                            case 4: first_pixels<4>(from, plane, row, w, outputs, b, relu, pixels, to, out_block); break;
#endif
                        }
                    }
                }
        }
    });
}

// 2x2 max pooling of stride 2; the height and width of `out` tell how they were rounded.
static void pool(const Map& in, const Map& out, int threads) {
    int64_t claimed = 0;
    parallel(threads, [&](int) {
        for (int64_t item; (item = claim(claimed)) < out.images * out.blocks;) {
            int64_t image = item / out.blocks, block = item % out.blocks;
            for (int64_t y = 0; y < out.height; y++)
                for (int64_t x = 0; x < out.width; x++)
                    for (int part = 0; part < PARTS; part++) {
                        Vector best = load(in.at(image, block, 2 * y, 2 * x) + part * LANES);
                        for (int i = 0; i < 2; i++)
                            for (int j = 0; j < 2; j++)
                                if (2 * y + i < in.height && 2 * x + j < in.width)
                                    best = larger(best, load(in.at(image, block, 2 * y + i, 2 * x + j) + part * LANES));
                        store(out.at(image, block, y, x) + part * LANES, best);
                    }
        }
    });
}

static void relu(const Map& map, int threads) {
    int64_t claimed = 0;
    parallel(threads, [&](int) {
        for (int64_t item; (item = claim(claimed)) < map.images * map.blocks;)
            for (int64_t y = 0; y < map.height; y++) {
                float* p = map.at(item / map.blocks, item % map.blocks, y, 0);
                for (int64_t x = 0; x < map.width * BLOCK; x += LANES) store(p + x, rectify(load(p + x)));
            }
    });
}

// Krizhevsky's normalization over 5 neighboring channels: x / (2 + 1e-4 sum x^2)^0.75.
static void lrn(const Map& in, const Map& out, int channels, int threads) {
    int64_t claimed = 0;
    parallel(threads, [&](int) {
        for (int64_t item; (item = claim(claimed)) < in.images * in.height;) {
            int64_t image = item / in.height, y = item % in.height;
            for (int64_t x = 0; x < in.width; x++)
                for (int c = 0; c < in.blocks * BLOCK; c++) {
                    float sum = 0;
                    for (int other = c - 2; other <= c + 2; other++)
                        if (other >= 0 && other < channels) {
                            float value = in.at(image, other / BLOCK, y, x)[other % BLOCK];
                            sum += value * value;
                        }
                    float scale = 2.0f + 1e-4f * sum, root = __builtin_sqrtf(scale);
                    out.at(image, c / BLOCK, y, x)[c % BLOCK] =
                        in.at(image, c / BLOCK, y, x)[c % BLOCK] / (root * __builtin_sqrtf(root));
                }
        }
    });
}
