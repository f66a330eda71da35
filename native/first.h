// The first convolution, which reads the image itself: alone, or together with the second.
//
// 3 input channels are too few for Winograd's transforms to pay, so it is computed directly: PIXELS neighbors of up to WIDE
// vectors of outputs at once, from a window of the image less the mean, padded with zeros.
#ifdef __AVX512F__
constexpr int PIXELS = 6, WIDE = 4;  // 24 sums of 32 registers
#else
constexpr int PIXELS = 6, WIDE = 2;  // 12 sums of 16 registers
#endif

static void pack_first(const Source& weights, const float* bias, Weights& packed) {
    pack_bias(bias, packed);
    int64_t outputs = int64_t(packed.output_panels) * PANEL, side = packed.side, area = side * side;
    float* v = static_cast<float*>(packed.packed);  // [input][row][column][output]
    for (int64_t tap = 0; tap < packed.inputs * area; tap++)
        for (int64_t o = 0; o < outputs; o++)
            v[tap * outputs + o] =
                o < packed.outputs ? weights.at(o, tap / area, tap / side % side, tap % side) : 0;
}

// Part of an image with a border: [channel][row][column].
struct Window {
    float* data;
    int64_t rows, row, plane;  // of the allocation: rows; floats from row to row, and from channel to channel

    Window(int64_t rows, int64_t columns) : data(nullptr), rows(rows), row(columns + PIXELS), plane(rows * row) {}
    int64_t floats() const { return 3 * plane; }

    // Rows and columns from (top, left) on; what lies outside of the image is zero.
    void copy(const Images& images, int64_t image, int64_t top, int64_t left, int64_t height) const {
        for (int c = 0; c < 3; c++)
            for (int64_t y = 0; y < height; y++) {
                float* to = data + c * plane + y * row;
                for (int64_t x = 0; x < row; x++) to[x] = 0;
                if (top + y < 0 || top + y >= images.height) continue;
                const float* from =
                    images.data + image * images.strides[0] + c * images.strides[1] + (top + y) * images.strides[2];
                int64_t end = images.width - left < row ? images.width - left : row;
                for (int64_t x = left < 0 ? -left : 0; x < end; x++)
                    to[x] = from[(left + x) * images.strides[3]] - images.mean[c];
            }
    }
};

template <int COUNT, int SIDE>
static void first_pixels(const float* image, int64_t plane, int64_t row, const float* v, int64_t outputs,
                         const float* bias, bool relu, int pixels, float* out, int64_t out_block) {
    Vector sums[PIXELS][COUNT];
    for (int p = 0; p < PIXELS; p++)
        for (int k = 0; k < COUNT; k++) sums[p][k] = load(bias + k * LANES);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                const float* x = image + c * plane + i * row + j;
                const float* w = v + ((c * SIDE + i) * SIDE + j) * outputs;
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

// `width` pixels of a row, whose first taps begin at `from`, to blocks of channels that are `out_block` floats apart.
template <int SIDE>
static void first_row(const Window& window, const float* from, const Weights& weights, bool relu, int64_t width,
                      int64_t blocks, float* out, int64_t out_block) {
    int64_t vectors = blocks * PARTS, outputs = int64_t(weights.output_panels) * PANEL;
    for (int64_t x = 0; x < width; x += PIXELS)
        for (int64_t k = 0; k < vectors; k += WIDE) {
            int pixels = int(width - x < PIXELS ? width - x : PIXELS);
            float* to = out + k / PARTS * out_block + x * BLOCK;
            const float* w = static_cast<const float*>(weights.packed) + k * LANES;
            const float* b = weights.bias + k * LANES;
#define CASE(COUNT)                                                                                              \
    case COUNT:                                                                                                  \
        first_pixels<COUNT, SIDE>(from + x, window.plane, window.row, w, outputs, b, relu, pixels, to, out_block); \
        break;
            switch (vectors - k < WIDE ? vectors - k : WIDE) {
                CASE(1) CASE(2)
#ifdef __AVX512F__
                CASE(3) CASE(4)
#endif
            }
#undef CASE
        }
}

constexpr int64_t FIRST_ROWS = 8;  // that a thread computes at a time

static int64_t first_own(const Map& out, const Weights& weights) {
    return Window(FIRST_ROWS + weights.side - 1, out.width + weights.side - 1).floats();
}

static void first(const Images& images, const Map& out, const Weights& weights, bool relu, Scratch& scratch) {
    int64_t padding = weights.side / 2, bands = (out.height + FIRST_ROWS - 1) / FIRST_ROWS, claimed = 0;
    parallel(scratch.threads, [&](int thread) {
        Window window(FIRST_ROWS + 2 * padding, out.width + 2 * padding);
        window.data = scratch.own + thread * scratch.own_floats;
        for (int64_t item; (item = claim(claimed)) < out.images * bands;) {
            int64_t image = item / bands, top = item % bands * FIRST_ROWS;
            int64_t bottom = top + FIRST_ROWS < out.height ? top + FIRST_ROWS : out.height;
            window.copy(images, image, top - padding, -padding, bottom - top + 2 * padding);
            for (int64_t y = top; y < bottom; y++)
                (weights.side == 5 ? first_row<5> : first_row<3>)(
                    window, window.data + (y - top) * window.row, weights, relu, out.width, out.blocks,
                    out.at(image, 0, y, 0), out.rows * out.columns * BLOCK);
        }
    });
}

// conv1_1 and conv1_2 together. The map between them is the largest of the net, too large for the caches, and never
// written to memory: a thread goes down a strip of the image that is two blocks of tiles wide, and keeps the N rows of
// conv1_1's outputs that lie under one row of conv1_2's tiles. Of these the last N - M are the first of the next ones.
struct Strips {
    int64_t across, down, segments, tile_rows;  // strips; rows of tiles; segments of a strip; rows of tiles of a segment
    int64_t tiles_across;

    Strips(const Map& in, int tile, int threads) {
        tiles_across = (in.width + tile - 1) / tile, down = (in.height + tile - 1) / tile;
        across = (tiles_across + 2 * TILES - 1) / (2 * TILES);
        int64_t rows = in.images * across * down / (8 * threads);  // so that every thread has several segments
        tile_rows = rows < 2 ? 2 : rows > 16 ? 16 : rows;
        segments = (down + tile_rows - 1) / tile_rows;
    }
    int64_t left(int64_t strip) const { return tiles_across * strip / across; }  // in tiles

    // The part of conv1_1's outputs under one row of tiles of a strip.
    template <class W>
    static Map rows(const Map& in, int64_t tiles) {
        Map map{};
        map.images = 1, map.blocks = in.blocks, map.height = W::M, map.width = tiles * W::M, map.border = W::R / 2;
        map.rows = W::N, map.columns = map.width + W::R - 1;
        return map;
    }
    int64_t most_tiles() const { return (tiles_across + across - 1) / across; }
};

// Compute rows [kept, N) of `rows`, which lie at image row y - border + kept and so on, and column x - border and so on.
template <class W>
static void fill_rows(const Images& images, int64_t image, const Weights& weights, bool relu, const Map& rows, int64_t y,
                      int64_t x, int64_t kept, const Window& window) {
    int64_t top = y - rows.border, left = x - rows.border, block_floats = rows.rows * rows.columns * BLOCK;
    window.copy(images, image, top + kept - 1, left - 1, rows.rows - kept + 2);
    int64_t first = left < 0 ? -left : 0, end = images.width - left < rows.columns ? images.width - left : rows.columns;
    for (int64_t row = kept; row < rows.rows; row++) {
        float* to = rows.data + row * rows.columns * BLOCK;
        bool inside = top + row >= 0 && top + row < images.height;
        for (int64_t block = 0; block < rows.blocks; block++)
            for (int64_t column = 0; column < rows.columns; column++)
                if (!inside || column < first || column >= end)
                    for (int part = 0; part < PARTS; part++)
                        store(to + block * block_floats + column * BLOCK + part * LANES, zero());
        if (inside)
            first_row<3>(window, window.data + (row - kept) * window.row + first, weights, relu, end - first, rows.blocks,
                         to + first * BLOCK, block_floats);
    }
}

template <class W, bool BF16>
static void convolve_first_two(const Images& images, const Weights& first, bool first_relu, const Map& in, const Map& out,
                               const Weights& weights, bool relu, int pool, Scratch& scratch) {
    Strips strips(in, W::M, scratch.threads);
    int64_t steps = step_blocks_of<BF16>(in), claimed = 0;
    parallel(scratch.threads, [&](int thread) {
        for (int64_t item; (item = claim(claimed)) < in.images * strips.across * strips.segments;) {
            int64_t segment = item % strips.segments, strip = item / strips.segments % strips.across;
            int64_t image = item / strips.segments / strips.across, left = strips.left(strip);
            Map rows = Strips::rows<W>(in, strips.left(strip + 1) - left);
            Tiles tiles(rows, W::M);
            PanelProduct<W, BF16> product{out, weights, tiles, steps, in.height, in.width, relu, pool != 0};
            float* u = scratch.own + thread * scratch.own_floats;
            float* m = u + tiles.blocks * product.block_floats;
            rows.data = m + tiles.blocks * product.sums_floats;
            Window window(W::N + 2, rows.columns + 2);
            window.data = rows.data + rows.floats();
            int64_t begin = segment * strips.tile_rows, row_floats = rows.columns * BLOCK;
            for (int64_t row = begin; row < begin + strips.tile_rows && row < strips.down; row++) {
                int64_t kept = row == begin ? 0 : W::N - W::M;
                for (int64_t block = 0; block < rows.blocks && kept; block++) {
                    float* to = rows.data + block * W::N * row_floats;
                    __builtin_memcpy(to, to + W::M * row_floats, (W::N - W::M) * row_floats * sizeof(float));
                }
                fill_rows<W>(images, image, first, first_relu, rows, row * W::M, left * W::M, kept, window);
                for (int64_t block = 0; block < tiles.blocks; block++)
                    transform_block<W, BF16>(rows, tiles, block, 0, steps, steps, u + block * product.block_floats);
                for (int64_t panel = 0; panel < weights.output_panels; panel++)
                    product.compute(u, m, 0, tiles.blocks, panel, {image, row * W::M, left * W::M});
            }
        }
    });
}

static int64_t first_two_own(const Map& in, const Weights& weights, bool bf16, int threads) {
    int64_t floats = 0;
    with_filtering(weights, bf16, [&](auto filtering, auto precision) {
        using W = decltype(filtering);
        Map rows = Strips::rows<W>(in, Strips(in, W::M, threads).most_tiles());
        Tiles tiles(rows, W::M);
        int64_t steps = step_blocks_of<decltype(precision)::value>(in), positions = W::N * W::N;
        floats = tiles.blocks * positions * (position_stride(steps, tiles.size) + tiles.size * PANEL) + rows.floats() +
                 Window(W::N + 2, rows.columns + 2).floats();
    });
    return floats;
}

static void first_two(const Images& images, const Weights& first, bool first_relu, const Map& in, const Map& out,
                      const Weights& weights, bool bf16, bool relu, int pool, Scratch& scratch) {
    with_filtering(weights, bf16, [&](auto filtering, auto precision) {
        convolve_first_two<decltype(filtering), decltype(precision)::value>(images, first, first_relu, in, out, weights,
                                                                           relu, pool, scratch);
    });
}
