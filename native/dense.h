// Dense layers, as convolutions without padding whose kernel is side x side (fc6: 7x7), and 1x1 convolutions.
//
// Plainly, a row of the product is one position of one image: the side x side x channels numbers that it sees. Rows are
// packed in blocks of at most TILES, as multiply() reads them.
//
// On maps, fc6 is filtered as Winograd does: a row is a tile of 2x2 neighboring positions (in bf16: 1x2, because errors
// would grow). F(2, 7) has eight points, whose numbers are large, so the 7 taps are split into 3 and 4, and the kernel into
// four pieces: 3x3, 3x4, 4x3 and 4x4. A piece takes 4 or 5 products in each direction for two outputs; the four together
// take 81 for four outputs, instead of 196.
//
// Sums are cut into parts of about 1,024 terms: one long chain of additions would double the rounding error of the logits.
// Each thread takes a range of panels; weights, which are larger than any cache, stream by once, in the order in which they
// lie: [panel][piece][part][tap or point][channel block of the part][16][PANEL].

constexpr int64_t PART_STEPS = 1024 / BLOCK;
constexpr int64_t POINTS_AHEAD = 4;  // whose weights are fetched before they are used

// F(2, R) along one direction: two outputs from R + 1 products. Points 0, 1, -1, infinity, and for 4 taps also 2.
template <int R>
struct Pair;

template <>
struct Pair<3> {
    static constexpr int TAPS = 3, OUTPUTS = 2, POINTS = 4, STEPS = 1, SEEN = 4;

    static inline void kernel(const double* g, double* u) {
        double even = (g[0] + g[2]) / 2, odd = g[1] / 2;
        u[0] = -g[0], u[1] = even + odd, u[2] = even - odd, u[3] = g[2];
    }
    static inline void input(const Vector* d, Vector* t) { Winograd<2, 3>::input(d, t); }
    static inline void output(const Vector* t, Vector* y) { Winograd<2, 3>::output(t, y); }
};

template <>
struct Pair<4> {
    static constexpr int TAPS = 4, OUTPUTS = 2, POINTS = 5, STEPS = 1, SEEN = 5;

    static inline void kernel(const double* g, double* u) {
        double even = g[0] + g[2], odd = g[1] + g[3];
        u[0] = g[0] / 2;
        u[1] = -(even + odd) / 2;
        u[2] = (odd - even) / 6;
        u[3] = (g[0] + 2 * g[1] + 4 * g[2] + 8 * g[3]) / 6;
        u[4] = g[3];
    }
    static inline void input(const Vector* d, Vector* t) {
        t[0] = 2.0f * (d[0] - d[2]) + (d[3] - d[1]);
        t[1] = d[3] - d[2] - 2.0f * d[1];
        t[2] = d[3] - 3.0f * d[2] + 2.0f * d[1];
        t[3] = d[3] - d[1];
        t[4] = 2.0f * (d[1] - d[3]) + (d[4] - d[2]);
    }
    static inline void output(const Vector* t, Vector* y) {
        y[0] = (t[0] + t[1]) + (t[2] + t[3]);
        y[1] = (t[1] - t[2]) + (2.0f * t[3] + t[4]);
    }
};

// One output from R taps, whose products are summed as further steps.
template <int R>
struct Single {
    static constexpr int TAPS = R, OUTPUTS = 1, POINTS = 1, STEPS = R, SEEN = R;

    static inline void kernel(const double* g, double* u) {
        for (int i = 0; i < R; i++) u[i] = g[i];
    }
    static inline void input(const Vector* d, Vector* t) {
        for (int i = 0; i < R; i++) t[i] = d[i];
    }
    static inline void output(const Vector* t, Vector* y) { y[0] = t[0]; }
};

template <bool BF16, int R>
struct Vertical : Pair<R> {};
template <int R>
struct Vertical<true, R> : Single<R> {};

// A rectangle of the kernel's taps.
struct Piece {
    int64_t row, column, rows, columns;

    int64_t taps() const { return rows * columns; }
    int64_t part_groups() const { return taps() < PART_STEPS ? PART_STEPS / taps() : 1; }
};

constexpr int FILTERED_SIDE = 7, SPLIT = 3;

static inline int64_t num_pieces(int side) { return side == FILTERED_SIDE ? 4 : 1; }
static inline Piece piece_of(int side, int64_t piece) {
    if (side != FILTERED_SIDE) return {0, 0, side, side};
    int64_t low = SPLIT, high = FILTERED_SIDE - SPLIT;
    return {piece / 2 * low, piece % 2 * low, piece / 2 ? high : low, piece % 2 ? high : low};
}

// Call `body` with both directions' filtering of each piece as types.
template <bool BF16, class Body>
static inline void for_each_piece(Body&& body) {
    body(Vertical<BF16, 3>{}, Pair<3>{}, piece_of(7, 0));
    body(Vertical<BF16, 3>{}, Pair<4>{}, piece_of(7, 1));
    body(Vertical<BF16, 4>{}, Pair<3>{}, piece_of(7, 2));
    body(Vertical<BF16, 4>{}, Pair<4>{}, piece_of(7, 3));
}

struct Rows {
    int64_t height, width;               // positions of an image
    int64_t span_down, span_across;      // positions of a row
    int64_t down, across, count, blocks; // rows of an image, in both directions; in all images
    int size;                            // rows of a block

    Rows(const Map& in, const Weights& weights, bool bf16) {
        height = in.height - weights.side + 1, width = in.width - weights.side + 1;
        span_down = weights.filtered && !bf16 ? 2 : 1, span_across = weights.filtered ? 2 : 1;
        down = (height + span_down - 1) / span_down, across = (width + span_across - 1) / span_across;
        count = in.images * down * across;
        blocks = (count + TILES - 1) / TILES;
        size = blocks ? int((count + blocks - 1) / blocks) : 0;
    }
    int64_t all() const { return blocks * size; }
    int in_block(int64_t block) const {
        int64_t left = count - block * size;
        return int(left < size ? (left > 0 ? left : 0) : size);
    }
    struct Place {
        int64_t image, y, x;
    };
    Place place(int64_t block, int t) const {
        int64_t row = block * size + t, rest = row % (down * across);
        return {row / (down * across), rest / across * span_down, rest % across * span_across};
    }
};

// Groups of 16 words of channels: 16 channels, in bf16 32.
static inline int64_t channel_groups(int64_t input_blocks, bool bf16) { return bf16 ? (input_blocks + 1) / 2 : input_blocks; }

// Packed rows: [piece][part][block][point and step][group of the part][row][16]. The place of one group of a block.
static inline float* row_place(float* packed, const Rows& rows, int64_t group, int64_t groups, const Piece& piece,
                               int64_t steps, int64_t block) {
    int64_t part_groups = piece.part_groups(), first = group / part_groups * part_groups;
    int64_t length = groups - first < part_groups ? groups - first : part_groups;
    return packed + ((first * rows.all() + block * rows.size * length) * steps + (group - first) * rows.in_block(block)) * BLOCK;
}

// Pixel (y, x) of one group of channels as one or two vectors; zero outside of the map.
template <bool BF16>
static inline void load_group(const Map& in, int64_t image, int64_t group, int64_t y, int64_t x, int part, Vector* halves) {
    for (int half = 0; half < (BF16 ? 2 : 1); half++) {
        int64_t block = BF16 ? 2 * group + half : group;
        bool inside = block < in.blocks && y < in.height && x < in.width;
        halves[half] = inside ? load(in.at(image, block, y, x) + part * LANES) : zero();
    }
}

template <bool BF16>
static void pack_rows(const Map& in, const Rows& rows, int side, int64_t block, int64_t group, int64_t groups,
                      float* packed) {
    int count = rows.in_block(block);
    for (int64_t p = 0; p < num_pieces(side); p++) {
        Piece piece = piece_of(side, p);
        float* to = row_place(packed, rows, group, groups, piece, piece.taps(), block);
        int64_t first = group / piece.part_groups() * piece.part_groups();
        int64_t length = groups - first < piece.part_groups() ? groups - first : piece.part_groups();
        for (int t = 0; t < count; t++) {
            Rows::Place at = rows.place(block, t);
            for (int64_t tap = 0; tap < piece.taps(); tap++)
                for (int part = 0; part < PARTS; part++) {
                    Vector v[2];
                    load_group<BF16>(in, at.image, group, at.y + piece.row + tap / piece.columns,
                                     at.x + piece.column + tap % piece.columns, part, v);
                    store(to + (tap * length * count + t) * BLOCK + part * LANES, BF16 ? pair_bf16(v[0], v[1]) : v[0]);
                }
        }
        packed += groups * rows.all() * piece.taps() * BLOCK;
    }
}

// The same for tiles of positions, transformed.
template <bool BF16>
static void pack_tiles(const Map& in, const Rows& rows, int64_t block, int64_t group, int64_t groups, float* packed) {
    int count = rows.in_block(block);
    for_each_piece<BF16>([&](auto vertical, auto horizontal, Piece piece) {
        using V = decltype(vertical);
        using H = decltype(horizontal);
        constexpr int HALVES = BF16 ? 2 : 1, DOWN = V::POINTS * V::STEPS;
        float* to = row_place(packed, rows, group, groups, piece, DOWN * H::POINTS, block);
        int64_t first = group / piece.part_groups() * piece.part_groups();
        int64_t length = groups - first < piece.part_groups() ? groups - first : piece.part_groups();
        for (int t = 0; t < count; t++) {
            Rows::Place at = rows.place(block, t);
            for (int part = 0; part < PARTS; part++) {
                Vector columns[HALVES][DOWN][H::SEEN];
                for (int j = 0; j < H::SEEN; j++) {
                    Vector d[2][V::SEEN], column[DOWN];
                    for (int i = 0; i < V::SEEN; i++) {
                        Vector halves[2];
                        load_group<BF16>(in, at.image, group, at.y + piece.row + i, at.x + piece.column + j, part, halves);
                        for (int half = 0; half < HALVES; half++) d[half][i] = halves[half];
                    }
                    for (int half = 0; half < HALVES; half++) {
                        V::input(d[half], column);
                        for (int i = 0; i < DOWN; i++) columns[half][i][j] = column[i];
                    }
                }
                for (int i = 0; i < DOWN; i++) {
                    Vector u[HALVES][H::POINTS];
                    for (int half = 0; half < HALVES; half++) H::input(columns[half][i], u[half]);
                    for (int j = 0; j < H::POINTS; j++) {
                        int64_t place = (i / V::STEPS * H::POINTS + j) * V::STEPS + i % V::STEPS;
                        store(to + (place * length * count + t) * BLOCK + part * LANES,
                              BF16 ? pair_bf16(u[0][j], u[HALVES - 1][j]) : u[0][j]);
                    }
                }
            }
        }
        packed += groups * rows.all() * DOWN * H::POINTS * BLOCK;
    });
}

// Add a piece's sums [point][row][PANEL] to the outputs [output of the tile][row][PANEL].
template <class V, class H>
static void add_outputs(const float* sums, int64_t rows, bool is_first, float* outputs) {
    for (int64_t at = 0; at < rows * PANEL; at += LANES) {
        Vector columns[V::OUTPUTS][H::POINTS];
        for (int j = 0; j < H::POINTS; j++) {
            Vector t[V::POINTS], y[V::OUTPUTS];
            for (int i = 0; i < V::POINTS; i++) t[i] = load(sums + (i * H::POINTS + j) * rows * PANEL + at);
            V::output(t, y);
            for (int i = 0; i < V::OUTPUTS; i++) columns[i][j] = y[i];
        }
        for (int i = 0; i < V::OUTPUTS; i++) {
            Vector y[H::OUTPUTS];
            H::output(columns[i], y);
            for (int j = 0; j < H::OUTPUTS; j++) {
                float* to = outputs + (i * H::OUTPUTS + j) * rows * PANEL + at;
                store(to, is_first ? y[j] : load(to) + y[j]);
            }
        }
    }
}

// One panel of a piece: all parts of all rows, plainly. Returns where the next weights begin.
template <bool BF16>
static const float* multiply_piece(const Rows& rows, const Piece& piece, const float* x, const float* w, int64_t groups,
                                   bool is_first, float* outputs) {
    for (int64_t group = 0; group < groups; group += piece.part_groups()) {
        int64_t length = groups - group < piece.part_groups() ? groups - group : piece.part_groups();
        int64_t steps = piece.taps() * length, floats = steps * BLOCK * PANEL;
        for (int64_t block = 0; block < rows.blocks; block++) {
            float* c = outputs + block * rows.size * PANEL;
            Ahead ahead = Ahead::share(w + floats, floats, steps * BLOCK, rows.blocks, block);
            is_first ? multiply_rows<BF16, false>(rows.in_block(block), x, w, c, steps, ahead)
                     : multiply_rows<BF16, true>(rows.in_block(block), x, w, c, steps, ahead);
            x += rows.size * steps * BLOCK;
        }
        is_first = false;
        w += floats;
    }
    return w;
}

// The same, filtered. `sums` holds those of all points.
template <class V, class H, bool BF16>
static const float* multiply_filtered(const Rows& rows, const Piece& piece, const float* x, const float* w, int64_t groups,
                                      bool is_first, float* sums, float* outputs) {
    constexpr int64_t POINTS = V::POINTS * H::POINTS;
    for (int64_t group = 0; group < groups; group += piece.part_groups()) {
        int64_t length = groups - group < piece.part_groups() ? groups - group : piece.part_groups();
        int64_t steps = V::STEPS * length, floats = steps * BLOCK * PANEL;
        for (int64_t point = 0; point < POINTS; point++, w += floats)
            for (int64_t block = 0; block < rows.blocks; block++) {
                int count = rows.in_block(block);
                const float* from = x + (block * rows.size * POINTS + point * count) * steps * BLOCK;
                float* c = sums + (point * rows.all() + block * rows.size) * PANEL;
                Ahead ahead = Ahead::share(w + POINTS_AHEAD * floats, floats, steps * BLOCK, rows.blocks, block);
                group == 0 ? multiply_rows<BF16, false>(count, from, w, c, steps, ahead)
                           : multiply_rows<BF16, true>(count, from, w, c, steps, ahead);
            }
        x += rows.all() * POINTS * steps * BLOCK;
    }
    add_outputs<V, H>(sums, rows.all(), is_first, outputs);
    return w;
}

// Add the bias to the outputs of one row and panel, [output of the tile][row][PANEL], and write them.
static inline void write_row(const Map& out, const Rows& rows, Rows::Place at, int64_t panel, const float* outputs,
                             const float* bias, bool relu) {
    for (int half = 0; half < 2; half++) {
        int64_t channel = panel * PANEL + half * LANES;
        if (channel / BLOCK >= out.blocks) continue;
        for (int64_t i = 0; i < rows.span_down && at.y + i < rows.height; i++)
            for (int64_t j = 0; j < rows.span_across && at.x + j < rows.width; j++) {
                const float* from = outputs + (i * rows.span_across + j) * rows.all() * PANEL + half * LANES;
                Vector value = load(from) + load(bias + channel);
                store(out.at(at.image, channel / BLOCK, at.y + i, at.x + j) + channel % BLOCK,
                      relu ? rectify(value) : value);
            }
    }
}

// Words of a kernel's taps, or of its points, for each channel.
static inline int64_t kernel_words(const Weights& weights, bool bf16) {
    return !weights.filtered ? weights.side * weights.side : bf16 ? 7 * 9 : 9 * 9;
}

template <bool BF16>
static void multiply_dense(const Map& in, const Map& out, const Weights& weights, bool relu, Scratch& scratch) {
    Rows rows(in, weights, BF16);
    int64_t groups = channel_groups(in.blocks, BF16), panels = weights.output_panels, claimed = 0;
    parallel(scratch.threads, [&](int) {
        for (int64_t item; (item = claim(claimed)) < rows.blocks * groups;)
            weights.filtered
                ? pack_tiles<BF16>(in, rows, item / groups, item % groups, groups, scratch.shared)
                : pack_rows<BF16>(in, rows, weights.side, item / groups, item % groups, groups, scratch.shared);
    });
    int64_t shares = scratch.threads < panels ? scratch.threads : panels;
    int64_t panel_floats = kernel_words(weights, BF16) * groups * BLOCK * PANEL;
    parallel(scratch.threads, [&](int thread) {
        if (thread >= shares) return;
        float* outputs = scratch.own + thread * scratch.own_floats;
        float* sums = outputs + rows.span_down * rows.span_across * rows.all() * PANEL;
        for (int64_t panel = panels * thread / shares; panel < panels * (thread + 1) / shares; panel++) {
            const float *w = static_cast<const float*>(weights.packed) + panel * panel_floats, *x = scratch.shared;
            if (weights.filtered)
                for_each_piece<BF16>([&](auto vertical, auto horizontal, Piece piece) {
                    using V = decltype(vertical);
                    using H = decltype(horizontal);
                    w = multiply_filtered<V, H, BF16>(rows, piece, x, w, groups, piece.row + piece.column == 0, sums,
                                                      outputs);
                    x += groups * rows.all() * V::POINTS * V::STEPS * H::POINTS * BLOCK;
                });
            else
                for (int64_t p = 0; p < num_pieces(weights.side); p++) {
                    Piece piece = piece_of(weights.side, p);
                    w = multiply_piece<BF16>(rows, piece, x, w, groups, p == 0, outputs);
                    x += groups * rows.all() * piece.taps() * BLOCK;
                }
            for (int64_t block = 0; block < rows.blocks; block++)
                for (int t = 0; t < rows.in_block(block); t++)
                    write_row(out, rows, rows.place(block, t), panel, outputs + (block * rows.size + t) * PANEL,
                              weights.bias, relu);
        }
    });
}

static void dense_scratch(const Map& in, const Weights& weights, bool bf16, int, int64_t* floats) {
    Rows rows(in, weights, bf16);
    floats[0] = rows.all() * kernel_words(weights, bf16) * channel_groups(weights.input_blocks, bf16) * BLOCK;
    int64_t sums = weights.filtered ? 25 : 0;  // of the 4x4 piece's points
    floats[1] = (rows.span_down * rows.span_across + sums) * rows.all() * PANEL;
}

static void dense(const Map& in, const Map& out, const Weights& weights, bool bf16, bool relu, Scratch& scratch) {
    bf16 ? multiply_dense<true>(in, out, weights, relu, scratch)
         : multiply_dense<false>(in, out, weights, relu, scratch);
}

// One panel of outputs; `to` runs through it in order.
static void pack_plainly(const Source& weights, bool bf16, const Weights& packed, int64_t panel, float* to) {
    int64_t groups = channel_groups(packed.input_blocks, bf16), halves = bf16 ? 2 : 1;
    for (int64_t p = 0; p < num_pieces(packed.side); p++) {
        Piece piece = piece_of(packed.side, p);
        for (int64_t first = 0; first < groups; first += piece.part_groups())
            for (int64_t tap = 0; tap < piece.taps(); tap++)
                for (int64_t group = first; group < groups && group < first + piece.part_groups(); group++)
                    for (int64_t k = 0; k < BLOCK; k++)
                        for (int64_t o = 0; o < PANEL; o++) {
                            float words[2] = {0, 0};
                            for (int64_t half = 0; half < halves; half++) {
                                int64_t input = (group * halves + half) * BLOCK + k, output = panel * PANEL + o;
                                if (input < packed.inputs && output < packed.outputs)
                                    words[half] = weights.at(output, input, piece.row + tap / piece.columns,
                                                             piece.column + tap % piece.columns);
                            }
                            *to++ = bf16 ? word_bf16(words[0], words[1]) : words[0];
                        }
    }
}

// A piece of the kernel of one output and input, transformed: u[point and step of V][point of H].
template <class V, class H>
static void transform_piece(const Source& weights, int64_t output, int64_t input, const Piece& piece,
                            double (*u)[H::POINTS]) {
    double columns[V::POINTS * V::STEPS][H::TAPS];
    for (int j = 0; j < H::TAPS; j++) {
        double g[V::TAPS], column[V::POINTS * V::STEPS];
        for (int i = 0; i < V::TAPS; i++) g[i] = weights.at(output, input, piece.row + i, piece.column + j);
        V::kernel(g, column);
        for (int i = 0; i < V::POINTS * V::STEPS; i++) columns[i][j] = column[i];
    }
    for (int i = 0; i < V::POINTS * V::STEPS; i++) H::kernel(columns[i], u[i]);
}

// One panel of a piece, of all points.
template <class V, class H, bool BF16>
static void pack_filtered(const Source& weights, const Weights& packed, const Piece& piece, int64_t panel, float* to) {
    constexpr int64_t DOWN = V::POINTS * V::STEPS, HALVES = BF16 ? 2 : 1;
    int64_t groups = channel_groups(packed.input_blocks, BF16);
    for (int64_t group = 0; group < groups; group++) {
        int64_t first = group / piece.part_groups() * piece.part_groups();
        int64_t length = groups - first < piece.part_groups() ? groups - first : piece.part_groups();
        for (int64_t k = 0; k < BLOCK; k++)
            for (int64_t o = 0; o < PANEL; o++) {
                double u[2][DOWN][H::POINTS] = {};
                for (int64_t half = 0; half < HALVES; half++) {
                    int64_t input = (group * HALVES + half) * BLOCK + k, output = panel * PANEL + o;
                    if (input < packed.inputs && output < packed.outputs)
                        transform_piece<V, H>(weights, output, input, piece, u[half]);
                }
                for (int64_t i = 0; i < DOWN; i++)
                    for (int64_t j = 0; j < H::POINTS; j++) {
                        int64_t place = (i / V::STEPS * H::POINTS + j) * V::STEPS + i % V::STEPS;
                        float low = float(u[0][i][j]), high = float(u[1][i][j]);
                        to[((first * DOWN * H::POINTS + place * length + group - first) * BLOCK + k) * PANEL + o] =
                            BF16 ? word_bf16(low, high) : low;
                    }
            }
    }
}

template <bool BF16>
static void pack_panel(const Source& weights, const Weights& packed, int64_t panel) {
    int64_t groups = channel_groups(packed.input_blocks, BF16), floats = groups * BLOCK * PANEL;
    float* to = static_cast<float*>(packed.packed) + panel * kernel_words(packed, BF16) * floats;
    if (!packed.filtered) return pack_plainly(weights, BF16, packed, panel, to);
    for_each_piece<BF16>([&](auto vertical, auto horizontal, Piece piece) {
        using V = decltype(vertical);
        using H = decltype(horizontal);
        pack_filtered<V, H, BF16>(weights, packed, piece, panel, to);
        to += V::POINTS * V::STEPS * H::POINTS * floats;
    });
}

static void pack_dense(const Source& weights, const float* bias, bool bf16, Weights& packed, int threads) {
    pack_bias(bias, packed);
    int64_t claimed = 0;
    parallel(threads, [&](int) {
        for (int64_t panel; (panel = claim(claimed)) < packed.output_panels;)
            bf16 ? pack_panel<true>(weights, packed, panel) : pack_panel<false>(weights, packed, panel);
    });
}
