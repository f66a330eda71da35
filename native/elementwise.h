// Layers without weights: pooling, ReLU, LRN.

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
