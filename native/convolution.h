// A 3x3 or 5x5 convolution of stride 1, padded to the size of its input, with bias, ReLU and 2x2 max pooling, by
// Winograd's filtering.
//
// Tiles of all images are numbered row by row and taken in blocks of at most TILES. For a block:
//   1. transform the tiles' input:   U[position][channel block][tile][16]
//   2. for each panel of outputs, for each position: M[position][tile][output] = U[position] V[panel][position]
//   3. transform back, add the bias, rectify, pool, and write the output map.
// On large maps each thread takes a few blocks at a time through all panels (U stays in its cache, V is read again);
// on small maps all threads share U and divide the panels (V, which is larger, is read once).

struct Tiles {
    int64_t across, down, count;  // per row of tiles, rows of tiles, in all images
    int64_t blocks;               // of `size` tiles, the last perhaps smaller
    int size;

    Tiles(const Map& in, int tile) {
        across = (in.width + tile - 1) / tile;
        down = (in.height + tile - 1) / tile;
        count = in.images * down * across;
        blocks = (count + TILES - 1) / TILES;
        size = int((count + blocks - 1) / blocks);
    }
    int in_block(int64_t block) const {
        int64_t left = count - block * size;
        return int(left < size ? (left > 0 ? left : 0) : size);
    }
};

// The place of one tile after the other: counted, because divisions for each tile would cost as much as its transform.
struct TilePlace {
    const Tiles& tiles;
    int64_t image, row, column;

    TilePlace(const Tiles& tiles, int64_t tile) : tiles(tiles) {
        column = tile % tiles.across;
        row = tile / tiles.across % tiles.down;
        image = tile / tiles.across / tiles.down;
    }
    void advance() {
        if (++column < tiles.across) return;
        column = 0;
        if (++row < tiles.down) return;
        row = 0, image++;
    }
};

// Floats from one position of U to the next: padded by a cache line, so that they do not fall into one cache set.
static inline int64_t position_stride(int64_t step_blocks, int tiles) { return step_blocks * tiles * BLOCK + BLOCK; }

// The columns' transforms B^T d of a tile at (y, x); if `shared`, the first are the last of the tile on its left.
template <class W>
static inline void transform_columns(const Map& in, int64_t image, int64_t block, int64_t y, int64_t x, int part,
                                     bool shared, Vector (*columns)[W::N]) {
    constexpr int N = W::N, SHARED = N - W::M, PADDING = W::R / 2;
    const float* d = in.at(image, block, y - PADDING, x - PADDING) + part * LANES;
    if (shared)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < SHARED; j++) columns[i][j] = columns[i][j + W::M];
    for (int j = shared ? SHARED : 0; j < N; j++) {
        Vector column[N], t[N];
        for (int i = 0; i < N; i++) column[i] = load(d + (i * in.columns + j) * BLOCK);
        W::input(column, t);
        for (int i = 0; i < N; i++) columns[i][j] = t[i];
    }
}

template <class W, bool BF16>
static void transform_block(const Map& in, const Tiles& tiles, int64_t block, int64_t first_step, int64_t last_step,
                            int64_t step_blocks, float* u) {
    constexpr int N = W::N, HALVES = BF16 ? 2 : 1;
    int count = tiles.in_block(block);
    int64_t stride = position_stride(step_blocks, tiles.size);
    for (int64_t step = first_step; step < last_step; step++)
        for (int part = 0; part < PARTS; part++) {
            Vector columns[HALVES][N][N];
            TilePlace place(tiles, block * tiles.size);
            for (int t = 0; t < count; t++, place.advance()) {
                bool shared = t > 0 && place.column > 0;
                for (int half = 0; half < HALVES; half++) {
                    int64_t channels = step * HALVES + half;
                    if (channels < in.blocks)
                        transform_columns<W>(in, place.image, channels, place.row * W::M, place.column * W::M, part,
                                             shared, columns[half]);
                    else
                        for (auto& row : columns[half])
                            for (Vector& value : row) value = zero();
                }
                float* to = u + (step * count + t) * BLOCK + part * LANES;
                for (int i = 0; i < N; i++) {
                    Vector halves[HALVES][N];
                    for (int half = 0; half < HALVES; half++) W::input(columns[half][i], halves[half]);
                    for (int j = 0; j < N; j++)
                        store(to + (i * N + j) * stride, BF16 ? pair_bf16(halves[0][j], halves[HALVES - 1][j]) : halves[0][j]);
                }
            }
        }
}

// Where the first tile lies in the output: 0, unless the input is a piece of the layer's (first.h).
struct Corner {
    int64_t image, y, x;
};

// Write the M x M outputs of a tile that lie inside the image, or the pooled M/2 x M/2.
template <int M>
static inline void write_tile(const Map& out, int64_t image, int64_t block, int part, int64_t y, int64_t x,
                              int64_t height, int64_t width, bool pooled, const Vector (*values)[M]) {
    if (!pooled) {
        float* p = out.at(image, block, y, x) + part * LANES;
        for (int i = 0; i < M; i++)
            for (int j = 0; j < M; j++) {
                if (y + i < height && x + j < width) store(p + (i * out.columns + j) * BLOCK, values[i][j]);
            }
        return;
    }
    for (int i = 0; i < M; i += 2)
        for (int j = 0; j < M; j += 2) {
            int64_t row = (y + i) / 2, column = (x + j) / 2;
            if (row >= out.height || column >= out.width) continue;
            Vector best = values[i][j];
            if (x + j + 1 < width) best = larger(best, values[i][j + 1]);
            if (y + i + 1 < height) best = larger(best, values[i + 1][j]);
            if (x + j + 1 < width && y + i + 1 < height) best = larger(best, values[i + 1][j + 1]);
            store(out.at(image, block, row, column) + part * LANES, best);
        }
}

template <bool BF16>
static int64_t step_blocks_of(const Map& in) {
    return BF16 ? (in.blocks + 1) / 2 : in.blocks;
}

// One panel of outputs at a time, of blocks of tiles whose input is transformed.
template <class W, bool BF16>
struct PanelProduct {
    static constexpr int N = W::N, POSITIONS = N * N;
    const Map& out;
    const Weights& weights;
    const Tiles& tiles;
    int64_t steps, height, width;  // of the layer's input
    bool relu, pooled;
    int64_t stride = position_stride(steps, tiles.size);
    int64_t block_floats = POSITIONS * stride;                       // of U
    int64_t sums_floats = int64_t(POSITIONS) * tiles.size * PANEL;  // of M

    // Blocks [first, last), whose U begins at u and whose M at m.
    void compute(const float* u, float* m, int64_t first, int64_t last, int64_t panel, Corner corner) const {
        int64_t position_floats = steps * BLOCK * PANEL;
        const float* v = static_cast<const float*>(weights.packed) + panel * POSITIONS * position_floats;
        for (int position = 0; position < POSITIONS; position++, v += position_floats)
            for (int64_t block = 0; block < last - first; block++) {
                int count = tiles.in_block(first + block);
                multiply_rows<BF16, false>(count, u + block * block_floats + position * stride, v,
                                           m + block * sums_floats + position * count * PANEL, steps,
                                           Ahead::share(v + position_floats, position_floats, steps * BLOCK,
                                                        last - first, block));
            }
        for (int64_t block = first; block < last; block++)
            transform_back(m + (block - first) * sums_floats, block, panel, corner);
    }

    // M[position][tile][PANEL] back to outputs.
    void transform_back(const float* m, int64_t block, int64_t panel, Corner corner) const {
        constexpr int M = W::M;
        int count = tiles.in_block(block);
        TilePlace place(tiles, block * tiles.size);
        for (int t = 0; t < count; t++, place.advance()) {
            int64_t image = corner.image + place.image, y = corner.y + place.row * M, x = corner.x + place.column * M;
            for (int half = 0; half < 2; half++) {
                int64_t channel = panel * PANEL + half * LANES;
                if (channel / BLOCK >= out.blocks) continue;
                Vector shift = load(weights.bias + channel);
                Vector rows[M][N];  // A^T m
                for (int j = 0; j < N; j++) {
                    Vector column[N], back[M];
                    for (int i = 0; i < N; i++) column[i] = load(m + ((i * N + j) * count + t) * PANEL + half * LANES);
                    W::output(column, back);
                    for (int i = 0; i < M; i++) rows[i][j] = back[i];
                }
                Vector values[M][M];
                for (int i = 0; i < M; i++) {
                    W::output(rows[i], values[i]);
                    for (int j = 0; j < M; j++) {
                        values[i][j] += shift;
                        if (relu) values[i][j] = rectify(values[i][j]);
                    }
                }
                write_tile<M>(out, image, channel / BLOCK, int(channel % BLOCK) / LANES, y, x, height, width, pooled,
                              values);
            }
        }
    }
};

static inline bool shares_input(const Tiles& tiles, int64_t step_blocks, int threads) {
    return tiles.blocks <= 3 || (step_blocks >= 16 && tiles.blocks <= 4 * threads);
}

// The blocks that a thread takes at a time: a few, and where there are few, equal shares for all threads. The first
// chunks have one more where the blocks do not divide.
struct Chunks {
    int64_t blocks, count;

    Chunks(const Tiles& tiles, int64_t step_blocks, int threads) : blocks(tiles.blocks) {
        int64_t most = step_blocks >= 16 ? 4 : 2;
        count = (blocks + most - 1) / most;
        if (count < 32) count = (count + threads - 1) / threads * threads;
        if (count > blocks) count = blocks;
    }
    int64_t first(int64_t chunk) const {
        int64_t rest = blocks % count;
        return chunk * (blocks / count) + (chunk < rest ? chunk : rest);
    }
    int64_t largest() const { return (blocks + count - 1) / count; }
};

template <class W, bool BF16>
static void convolve(const Map& in, const Map& out, const Weights& weights, bool relu, int pool, Scratch& scratch) {
    Tiles tiles(in, W::M);
    int64_t steps = step_blocks_of<BF16>(in), blocks = tiles.blocks;
    PanelProduct<W, BF16> product{out, weights, tiles, steps, in.height, in.width, relu, pool != 0};
    int64_t panels = weights.output_panels, claimed = 0;
    int threads = scratch.threads;
    if (shares_input(tiles, steps, threads)) {
        parallel(threads, [&](int) {
            for (int64_t item; (item = claim(claimed)) < blocks * steps;)
                transform_block<W, BF16>(in, tiles, item / steps, item % steps, item % steps + 1, steps,
                                         scratch.shared + item / steps * product.block_floats);
        });
        claimed = 0;
        parallel(threads, [&](int thread) {
            float* m = scratch.own + thread * scratch.own_floats;
            for (int64_t panel; (panel = claim(claimed)) < panels;)
                product.compute(scratch.shared, m, 0, blocks, panel, {0, 0, 0});
        });
        return;
    }
    Chunks chunks(tiles, steps, threads);
    parallel(threads, [&](int thread) {
        float* u = scratch.own + thread * scratch.own_floats;
        float* m = u + chunks.largest() * product.block_floats;
        for (int64_t chunk; (chunk = claim(claimed)) < chunks.count;) {
            int64_t first = chunks.first(chunk), last = chunks.first(chunk + 1);
            for (int64_t block = first; block < last; block++)
                transform_block<W, BF16>(in, tiles, block, 0, steps, steps, u + (block - first) * product.block_floats);
            for (int64_t panel = 0; panel < panels; panel++) product.compute(u, m, first, last, panel, {0, 0, 0});
        }
    });
}

// Call `body` with the filtering and the precision of a layer as types.
template <class Body>
static void with_filtering(const Weights& weights, bool bf16, Body&& body) {
    auto with_precision = [&](auto filtering) {
        bf16 ? body(filtering, Flag<true>{}) : body(filtering, Flag<false>{});
    };
    if (weights.side == 5) return with_precision(Winograd<2, 5>{});
    weights.tile == 4 ? with_precision(Winograd<4, 3>{}) : with_precision(Winograd<2, 3>{});
}

// Floats of scratch for one layer: shared by all threads, and of each thread.
static void winograd_scratch(const Map& in, const Weights& weights, bool bf16, int threads, int64_t* floats) {
    with_filtering(weights, bf16, [&](auto filtering, auto precision) {
        using W = decltype(filtering);
        Tiles tiles(in, W::M);
        int64_t steps = step_blocks_of<decltype(precision)::value>(in), positions = W::N * W::N;
        int64_t u = positions * position_stride(steps, tiles.size), m = positions * tiles.size * PANEL;
        bool shared = shares_input(tiles, steps, threads);
        floats[0] = shared ? tiles.blocks * u : 0;
        floats[1] = shared ? tiles.blocks * m : Chunks(tiles, steps, threads).largest() * (u + m);
    });
}

static void winograd(const Map& in, const Map& out, const Weights& weights, bool bf16, bool relu, int pool,
                     Scratch& scratch) {
    with_filtering(weights, bf16, [&](auto filtering, auto precision) {
        convolve<decltype(filtering), decltype(precision)::value>(in, out, weights, relu, pool, scratch);
    });
}

// G g G^T in double precision.
template <class W>
static void transform_kernel(const Source& weights, int64_t output, int64_t input, float (*words)[W::N]) {
    double left[W::N][W::R];
    for (int i = 0; i < W::N; i++)
        for (int j = 0; j < W::R; j++) {
            left[i][j] = 0;
            for (int k = 0; k < W::R; k++) left[i][j] += W::G[i][k] * weights.at(output, input, k, j);
        }
    for (int i = 0; i < W::N; i++)
        for (int j = 0; j < W::N; j++) {
            double sum = 0;
            for (int k = 0; k < W::R; k++) sum += left[i][k] * W::G[j][k];
            words[i][j] = float(sum);
        }
}

// Panels [panel][position][step block][16][PANEL].
template <class W, bool BF16>
static void pack_panels(const Source& weights, Weights& packed, int threads) {
    constexpr int N = W::N, HALVES = BF16 ? 2 : 1;
    int64_t steps = (packed.input_blocks + HALVES - 1) / HALVES, claimed = 0;
    float* v = static_cast<float*>(packed.packed);
    parallel(threads, [&](int) {
        for (int64_t panel; (panel = claim(claimed)) < packed.output_panels;)
            for (int64_t step = 0; step < steps; step++)
                for (int k = 0; k < BLOCK; k++)
                    for (int o = 0; o < PANEL; o++) {
                        float words[2][N][N] = {};
                        int64_t output = panel * PANEL + o;
                        for (int half = 0; half < HALVES; half++) {
                            int64_t input = (step * HALVES + half) * BLOCK + k;
                            if (input < packed.inputs && output < packed.outputs)
                                transform_kernel<W>(weights, output, input, words[half]);
                        }
                        for (int position = 0; position < N * N; position++) {
                            float low = words[0][position / N][position % N], high = words[1][position / N][position % N];
                            v[(((panel * N * N + position) * steps + step) * BLOCK + k) * PANEL + o] =
                                BF16 ? word_bf16(low, high) : low;
                        }
                    }
    });
}

static void pack_winograd(const Source& weights, const float* bias, bool bf16, Weights& packed, int threads) {
    pack_bias(bias, packed);
    with_filtering(packed, bf16, [&](auto filtering, auto precision) {
        pack_panels<decltype(filtering), decltype(precision)::value>(weights, packed, threads);
    });
}
