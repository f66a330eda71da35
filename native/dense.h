// Dense layers, as convolutions without padding whose kernel is side x side (fc6: 7x7), and 1x1 convolutions.
//
// A row of the product is one position of one image: the side x side x channels numbers that it sees. On maps, fc6 takes
// pairs of neighboring positions, whose inputs are transformed: PAIR_POINTS products of rows of 7 x channels numbers. Rows
// are packed in blocks of at most TILES, as multiply() reads them.
//
// The sums are cut into parts of about 1,024 terms: one long chain of additions would double the rounding error of the
// logits. Each thread takes a range of panels and goes through the parts; so a part of the rows stays in its cache while
// the weights, which are larger than any cache, stream by once.

constexpr int64_t PART_STEPS = 1024 / BLOCK;

struct Rows {
    int64_t across, down, count, blocks;  // rows for each row of positions; rows of positions; in all images
    int64_t width;                        // positions in a row
    int size, span;                       // rows of a block; positions of a row: 1 or 2

    Rows(const Map& in, const Weights& weights) {
        span = weights.points == 1 ? 1 : 2;
        width = in.width - weights.side + 1;
        across = (width + span - 1) / span;
        down = in.height - weights.side + 1;
        count = in.images * down * across;
        blocks = (count + TILES - 1) / TILES;
        size = blocks ? int((count + blocks - 1) / blocks) : 0;
    }
    int in_block(int64_t block) const {
        int64_t left = count - block * size;
        return int(left < size ? (left > 0 ? left : 0) : size);
    }
    struct Place {
        int64_t image, y, x;
    };
    Place place(int64_t block, int t) const {
        int64_t row = block * size + t, rest = row % (down * across);
        return {row / (down * across), rest / across, rest % across * span};
    }
};

// Step blocks of 16 words of one point: [kernel row][kernel column][channel block], in bf16 [..][pair of channel blocks],
// and without columns where these were transformed.
static inline int64_t dense_steps(const Weights& weights, bool bf16) {
    int64_t groups = bf16 ? (weights.input_blocks + 1) / 2 : weights.input_blocks;
    return groups * weights.side * (weights.points == 1 ? weights.side : 1);
}

template <bool BF16>
static void pack_rows(const Map& in, const Rows& rows, int side, int64_t block, float* packed) {
    int64_t groups = BF16 ? (in.blocks + 1) / 2 : in.blocks;
    int count = rows.in_block(block);
    for (int t = 0; t < count; t++) {
        Rows::Place at = rows.place(block, t);
        float* to = packed + t * BLOCK;
        for (int i = 0; i < side; i++)
            for (int j = 0; j < side; j++)
                for (int64_t group = 0; group < groups; group++, to += count * BLOCK)
                    for (int part = 0; part < PARTS; part++) {
                        Vector v;
                        if (BF16) {
                            Vector low = load(in.at(at.image, 2 * group, at.y + i, at.x + j) + part * LANES);
                            Vector high = 2 * group + 1 < in.blocks
                                              ? load(in.at(at.image, 2 * group + 1, at.y + i, at.x + j) + part * LANES)
                                              : zero();
                            v = pair_bf16(low, high);
                        } else {
                            v = load(in.at(at.image, group, at.y + i, at.x + j) + part * LANES);
                        }
                        store(to + part * LANES, v);
                    }
    }
}

// The same for pairs of positions: `point_floats` from one point to the next.
template <bool BF16>
static void pack_pairs(const Map& in, const Rows& rows, int64_t block, int64_t point_floats, float* packed) {
    constexpr int N = WinogradPair::N, SEEN = WinogradPair::TAPS + 1, HALVES = BF16 ? 2 : 1;
    int64_t groups = (in.blocks + HALVES - 1) / HALVES;
    int count = rows.in_block(block);
    for (int t = 0; t < count; t++) {
        Rows::Place at = rows.place(block, t);
        float* to = packed + t * BLOCK;
        for (int i = 0; i < WinogradPair::TAPS; i++)
            for (int64_t group = 0; group < groups; group++, to += count * BLOCK)
                for (int part = 0; part < PARTS; part++) {
                    Vector d[SEEN], u[HALVES][N];
                    for (int half = 0; half < HALVES; half++) {
                        int64_t channels = group * HALVES + half;
                        for (int j = 0; j < SEEN; j++)  // the last pair of a row may be a single position
                            d[j] = channels < in.blocks && at.x + j < in.width
                                       ? load(in.at(at.image, channels, at.y + i, at.x + j) + part * LANES)
                                       : zero();
                        WinogradPair::input(d, u[half]);
                    }
                    for (int point = 0; point < N; point++)
                        store(to + point * point_floats + part * LANES,
                              BF16 ? pair_bf16(u[0][point], u[HALVES - 1][point]) : u[0][point]);
                }
    }
}

// Add the bias to the sums of one row and panel, [point][row][PANEL] with `point_floats` between points, and write them.
static inline void write_row(const Map& out, const Rows& rows, Rows::Place at, int64_t panel, const float* sums,
                             int64_t point_floats, const float* bias, bool relu) {
    constexpr int N = WinogradPair::N;
    for (int half = 0; half < 2; half++) {
        int64_t channel = panel * PANEL + half * LANES;
        if (channel / BLOCK >= out.blocks) continue;
        Vector points[N], values[2];
        for (int point = 0; point < (rows.span == 1 ? 1 : N); point++)
            points[point] = load(sums + point * point_floats + half * LANES);
        if (rows.span == 1)
            values[0] = points[0];
        else
            WinogradPair::output(points, values);
        for (int i = 0; i < rows.span && at.x + i < rows.width; i++) {
            Vector value = values[i] + load(bias + channel);
            store(out.at(at.image, channel / BLOCK, at.y, at.x + i) + channel % BLOCK, relu ? rectify(value) : value);
        }
    }
}

template <bool BF16>
static void multiply_dense(const Map& in, const Map& out, const Weights& weights, bool relu, Scratch& scratch) {
    Rows rows(in, weights);
    int64_t steps = dense_steps(weights, BF16), parts = (steps + PART_STEPS - 1) / PART_STEPS;
    int64_t panels = weights.output_panels, points = weights.points;
    int64_t point_floats = steps * rows.size * BLOCK, block_floats = points * point_floats;
    const float* v = static_cast<const float*>(weights.packed);
    int64_t claimed = 0;
    parallel(scratch.threads, [&](int) {
        for (int64_t block; (block = claim(claimed)) < rows.blocks;) {
            float* packed = scratch.shared + block * block_floats;
            if (points == 1)
                pack_rows<BF16>(in, rows, weights.side, block, packed);
            else
                pack_pairs<BF16>(in, rows, block, point_floats, packed);
        }
    });
    int64_t shares = scratch.threads < panels ? scratch.threads : panels;
    parallel(scratch.threads, [&](int thread) {
        if (thread >= shares) return;
        int64_t first = panels * thread / shares, last = panels * (thread + 1) / shares;
        float* sums = scratch.own + thread * scratch.own_floats;  // [panel][point][block][row][PANEL]
        int64_t point_sums = rows.blocks * rows.size * PANEL;
        for (int64_t part = 0; part < parts; part++) {
            int64_t length = part < parts - 1 ? PART_STEPS : steps - part * PART_STEPS;
            int64_t next = length * BLOCK * PANEL;  // weights of a point: [part][panel][point][step block][16][PANEL]
            const float* w = v + (part * PART_STEPS * panels + first * length) * points * BLOCK * PANEL;
            for (int64_t panel = first; panel < last; panel++)
                for (int64_t point = 0; point < points; point++, w += next)
                    for (int64_t block = 0; block < rows.blocks; block++) {
                        int count = rows.in_block(block);
                        const float* x = scratch.shared + block * block_floats + point * point_floats +
                                         part * PART_STEPS * count * BLOCK;
                        float* c = sums + ((panel - first) * points + point) * point_sums + block * rows.size * PANEL;
                        Ahead ahead = Ahead::share(w + next, length * BLOCK, rows.blocks, block);
                        part == 0 ? multiply_rows<BF16, false>(count, x, w, c, length, ahead)
                                  : multiply_rows<BF16, true>(count, x, w, c, length, ahead);
                    }
        }
        for (int64_t panel = first; panel < last; panel++)
            for (int64_t block = 0; block < rows.blocks; block++)
                for (int t = 0; t < rows.in_block(block); t++)
                    write_row(out, rows, rows.place(block, t), panel,
                              sums + (panel - first) * points * point_sums + (block * rows.size + t) * PANEL, point_sums,
                              weights.bias, relu);
    });
}

static int64_t dense_shared(const Map& in, const Weights& weights, int) {
    Rows rows(in, weights);
    return rows.blocks * rows.size * weights.points * dense_steps(weights, false) * BLOCK;
}

static int64_t dense_own(const Map& in, const Weights& weights, int threads) {
    Rows rows(in, weights);
    return (weights.output_panels / threads + 1) * weights.points * rows.blocks * rows.size * PANEL;
}

static void dense(const Map& in, const Map& out, const Weights& weights, bool bf16, bool relu, Scratch& scratch) {
    bf16 ? multiply_dense<true>(in, out, weights, relu, scratch)
         : multiply_dense<false>(in, out, weights, relu, scratch);
}

// The weight of one point and place of the kernel: a row and, unless transformed, a column.
static inline float dense_weight(const Source& weights, int64_t output, int64_t input, int side, int points, int point,
                                 int64_t place) {
    if (points == 1) return weights.at(output, input, place / side, place % side);
    double sum = 0;
    for (int j = 0; j < WinogradPair::TAPS; j++) sum += WinogradPair::G[point][j] * weights.at(output, input, place, j);
    return float(sum);
}

// (outputs, inputs, side, side) into [part][panel][point][step block][16][PANEL].
static void pack_dense(const Source& weights, const float* bias, bool bf16, Weights& packed, int threads) {
    pack_bias(bias, packed);
    int side = packed.side, points = packed.points, halves = bf16 ? 2 : 1;
    int64_t steps = dense_steps(packed, bf16), groups = bf16 ? (packed.input_blocks + 1) / 2 : packed.input_blocks;
    int64_t parts = (steps + PART_STEPS - 1) / PART_STEPS, panels = packed.output_panels;
    float* v = static_cast<float*>(packed.packed);
    int64_t claimed = 0;
    parallel(threads, [&](int) {
        for (int64_t item; (item = claim(claimed)) < panels * points;) {
            int64_t panel = item / points, point = item % points;
            for (int64_t step = 0; step < steps; step++) {
                int64_t part = step / PART_STEPS, group = step % groups, place = step / groups;
                int64_t length = part < parts - 1 ? PART_STEPS : steps - part * PART_STEPS;
                float* to = v + ((part * PART_STEPS * panels + panel * length) * points + point * length +
                                 step % PART_STEPS) * BLOCK * PANEL;
                for (int o = 0; o < PANEL; o++)
                    for (int k = 0; k < BLOCK; k++) {
                        float words[2] = {0, 0};
                        for (int half = 0; half < halves; half++) {
                            int64_t input = (group * halves + half) * BLOCK + k, output = panel * PANEL + o;
                            if (input < packed.inputs && output < packed.outputs)
                                words[half] = dense_weight(weights, output, input, side, points, int(point), place);
                        }
                        to[k * PANEL + o] = bf16 ? word_bf16(words[0], words[1]) : words[0];
                    }
            }
        }
    });
}
