// A 3x3 convolution of stride 1 and padding 1 with bias, ReLU and 2x2 max pooling, by Winograd's filtering.
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

template <int M>
constexpr int POSITIONS = Winograd<M>::N* Winograd<M>::N;

// Floats from one position of U to the next: padded by a cache line, so that they do not fall into one cache set.
static inline int64_t position_stride(int64_t step_blocks, int tiles) { return step_blocks * tiles * BLOCK + BLOCK; }

// The columns' transforms B^T d of a tile at (y, x); the first two are the last two of the tile on its left, if `shared`.
template <int M>
static inline void transform_columns(const Map& in, int64_t image, int64_t block, int64_t y, int64_t x, int part,
                                     bool shared, Vector (*columns)[M + 2]) {
    constexpr int N = M + 2;
    const float* d = in.at(image, block, y - 1, x - 1) + part * LANES;
    if (shared)
        for (int i = 0; i < N; i++) columns[i][0] = columns[i][M], columns[i][1] = columns[i][M + 1];
    for (int j = shared ? 2 : 0; j < N; j++) {
        Vector column[N], t[N];
        for (int i = 0; i < N; i++) column[i] = load(d + (i * in.columns + j) * BLOCK);
        Winograd<M>::input(column, t);
        for (int i = 0; i < N; i++) columns[i][j] = t[i];
    }
}

template <int M, bool BF16>
static void transform_block(const Map& in, const Tiles& tiles, int64_t block, int64_t first_step, int64_t last_step,
                            int64_t step_blocks, float* u) {
    constexpr int N = M + 2, HALVES = BF16 ? 2 : 1;
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
                        transform_columns<M>(in, place.image, channels, place.row * M, place.column * M, part, shared,
                                             columns[half]);
                    else
                        for (auto& row : columns[half])
                            for (Vector& value : row) value = zero();
                }
                float* to = u + (step * count + t) * BLOCK + part * LANES;
                for (int i = 0; i < N; i++) {
                    Vector halves[HALVES][N];
                    for (int half = 0; half < HALVES; half++) Winograd<M>::input(columns[half][i], halves[half]);
                    for (int j = 0; j < N; j++)
                        store(to + (i * N + j) * stride, BF16 ? pair_bf16(halves[0][j], halves[HALVES - 1][j]) : halves[0][j]);
                }
            }
        }
}

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

// M[position][tile][PANEL] back to outputs.
template <int M>
static void transform_back(const float* m, const Map& in, const Map& out, const Tiles& tiles, int64_t block, int64_t panel,
                           const float* bias, bool relu, bool pooled) {
    constexpr int N = Winograd<M>::N;
    int count = tiles.in_block(block);
    TilePlace place(tiles, block * tiles.size);
    for (int t = 0; t < count; t++, place.advance()) {
        int64_t image = place.image, y = place.row * M, x = place.column * M;
        for (int half = 0; half < 2; half++) {
            int64_t channel = panel * PANEL + half * LANES;
            if (channel / BLOCK >= out.blocks) continue;
            Vector shift = load(bias + channel);
            Vector rows[M][N];  // A^T m
            for (int j = 0; j < N; j++) {
                Vector column[N], back[M];
                for (int i = 0; i < N; i++) column[i] = load(m + ((i * N + j) * count + t) * PANEL + half * LANES);
                Winograd<M>::output(column, back);
                for (int i = 0; i < M; i++) rows[i][j] = back[i];
            }
            Vector values[M][M];
            for (int i = 0; i < M; i++) {
                Winograd<M>::output(rows[i], values[i]);
                for (int j = 0; j < M; j++) {
                    values[i][j] += shift;
                    if (relu) values[i][j] = rectify(values[i][j]);
                }
            }
            write_tile<M>(out, image, channel / BLOCK, int(channel % BLOCK) / LANES, y, x, in.height, in.width, pooled,
                          values);
        }
    }
}

template <bool BF16>
static int64_t step_blocks_of(const Map& in) {
    return BF16 ? (in.blocks + 1) / 2 : in.blocks;
}

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

template <int M, bool BF16>
static void convolve(const Map& in, const Map& out, const Weights& weights, bool relu, int pool, Scratch& scratch) {
    Tiles tiles(in, M);
    int64_t steps = step_blocks_of<BF16>(in), stride = position_stride(steps, tiles.size);
    int64_t block_floats = POSITIONS<M> * stride, panel_floats = POSITIONS<M> * steps * BLOCK * PANEL;
    const float* v = static_cast<const float*>(weights.packed);
    int64_t panels = weights.output_panels, blocks = tiles.blocks;
    int threads = scratch.threads;
    int64_t next_position = steps * BLOCK * PANEL;
    int64_t m_floats = int64_t(POSITIONS<M>) * tiles.size * PANEL;
    // One panel of outputs of the blocks [first, last), whose transformed input begins at u.
    auto compute_panel = [&](const float* u, float* m, int64_t first, int64_t last, int64_t panel) {
        for (int position = 0; position < POSITIONS<M>; position++)
            for (int64_t block = first; block < last; block++) {
                int count = tiles.in_block(block);
                const float* w = v + panel * panel_floats + position * next_position;
                multiply_rows<BF16, false>(
                    count, u + (block - first) * block_floats + position * stride, w,
                    m + (block - first) * m_floats + position * count * PANEL, steps,
                    Ahead::share(w + next_position, steps * BLOCK, last - first, block - first));
            }
        for (int64_t block = first; block < last; block++)
            transform_back<M>(m + (block - first) * m_floats, in, out, tiles, block, panel, weights.bias, relu, pool != 0);
    };
    int64_t claimed = 0;
    if (shares_input(tiles, steps, threads)) {
        parallel(threads, [&](int) {
            for (int64_t item; (item = claim(claimed)) < blocks * steps;)
                transform_block<M, BF16>(in, tiles, item / steps, item % steps, item % steps + 1, steps,
                                         scratch.shared + item / steps * block_floats);
        });
        claimed = 0;
        parallel(threads, [&](int thread) {
            float* m = scratch.own + thread * scratch.own_floats;
            for (int64_t panel; (panel = claim(claimed)) < panels;) compute_panel(scratch.shared, m, 0, blocks, panel);
        });
        return;
    }
    Chunks chunks(tiles, steps, threads);
    parallel(threads, [&](int thread) {
        float* u = scratch.own + thread * scratch.own_floats;
        float* m = u + chunks.largest() * block_floats;
        for (int64_t chunk; (chunk = claim(claimed)) < chunks.count;) {
            int64_t first = chunks.first(chunk), last = chunks.first(chunk + 1);
            for (int64_t block = first; block < last; block++)
                transform_block<M, BF16>(in, tiles, block, 0, steps, steps, u + (block - first) * block_floats);
            for (int64_t panel = 0; panel < panels; panel++) compute_panel(u, m, first, last, panel);
        }
    });
}

static int64_t conv3_shared(const Map& in, const Weights& weights, bool bf16, int threads) {
    Tiles tiles(in, weights.tile);
    int64_t steps = bf16 ? step_blocks_of<true>(in) : step_blocks_of<false>(in);
    int64_t positions = (weights.tile + 2) * (weights.tile + 2);
    return shares_input(tiles, steps, threads) ? tiles.blocks * positions * position_stride(steps, tiles.size) : 0;
}

static int64_t conv3_own(const Map& in, const Weights& weights, bool bf16, int threads) {
    Tiles tiles(in, weights.tile);
    int64_t steps = bf16 ? step_blocks_of<true>(in) : step_blocks_of<false>(in);
    int64_t positions = (weights.tile + 2) * (weights.tile + 2), m = positions * tiles.size * PANEL;
    if (shares_input(tiles, steps, threads)) return tiles.blocks * m;
    return Chunks(tiles, steps, threads).largest() * (positions * position_stride(steps, tiles.size) + m);
}

static void conv3(const Map& in, const Map& out, const Weights& weights, bool bf16, bool relu, int pool,
                  Scratch& scratch) {
    if (weights.tile == 4)
        bf16 ? convolve<4, true>(in, out, weights, relu, pool, scratch)
             : convolve<4, false>(in, out, weights, relu, pool, scratch);
    else
        bf16 ? convolve<2, true>(in, out, weights, relu, pool, scratch)
             : convolve<2, false>(in, out, weights, relu, pool, scratch);
}

// G g G^T in double precision, into panels [panel][position][step block][16][PANEL].
template <int M, bool BF16>
static void pack_winograd(const Source& weights, const float* bias, Weights& packed, int threads) {
    constexpr int N = Winograd<M>::N;
    int64_t steps = BF16 ? (packed.input_blocks + 1) / 2 : packed.input_blocks;
    float* v = static_cast<float*>(packed.packed);
    pack_bias(bias, packed);
    int64_t claimed = 0;
    parallel(threads, [&](int) {
      for (int64_t panel; (panel = claim(claimed)) < packed.output_panels;)
        for (int64_t step = 0; step < steps; step++)
            for (int k = 0; k < BLOCK; k++)
                for (int o = 0; o < PANEL; o++) {
                    float words[2][N * N] = {};
                    for (int half = 0; half < (BF16 ? 2 : 1); half++) {
                        int64_t input = (BF16 ? 2 * step + half : step) * BLOCK + k, output = panel * PANEL + o;
                        if (input >= packed.inputs || output >= packed.outputs) continue;
                        float g[9];
                        for (int i = 0; i < 9; i++) g[i] = weights.at(output, input, i / 3, i % 3);
                        double left[N][3];
                        for (int i = 0; i < N; i++)
                            for (int j = 0; j < 3; j++)
                                left[i][j] = Winograd<M>::G[i][0] * g[j] + Winograd<M>::G[i][1] * g[3 + j] +
                                             Winograd<M>::G[i][2] * g[6 + j];
                        for (int i = 0; i < N; i++)
                            for (int j = 0; j < N; j++)
                                words[half][i * N + j] =
                                    float(left[i][0] * Winograd<M>::G[j][0] + left[i][1] * Winograd<M>::G[j][1] +
                                          left[i][2] * Winograd<M>::G[j][2]);
                    }
                    for (int position = 0; position < N * N; position++) {
                        float* to = v + (((panel * N * N + position) * steps + step) * BLOCK + k) * PANEL + o;
                        *to = BF16 ? word_bf16(words[0][position], words[1][position]) : words[0][position];
                    }
                }
    });
}

static void pack_conv3(const Source& weights, const float* bias, bool bf16, Weights& packed, int threads) {
    if (packed.tile == 4)
        bf16 ? pack_winograd<4, true>(weights, bias, packed, threads) : pack_winograd<4, false>(weights, bias, packed, threads);
    else
        bf16 ? pack_winograd<2, true>(weights, bias, packed, threads) : pack_winograd<2, false>(weights, bias, packed, threads);
}
