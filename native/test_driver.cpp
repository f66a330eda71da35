// A test of the engine without Python, for the sanitizers: small nets on images of many shapes, on several threads at
// once, against plain loops in double precision. Prints one line and returns 0 if everything agrees.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "engine.h"

namespace {

uint32_t seed = 1;
float draw() {  // uniform in [-1, 1)
    seed = seed * 1664525u + 1013904223u;
    return float(int32_t(seed)) / 2147483648.0f;
}

struct Array {
    int64_t channels, height, width;
    std::vector<double> values;
    double& at(int64_t c, int64_t y, int64_t x) { return values[(c * height + y) * width + x]; }
};

struct Parameters {
    std::vector<float> weights, bias;
};

Array convolve(Array& in, const VdLayer& layer, const Parameters& p, int side, int padding) {
    int64_t height = in.height + 2 * padding - side + 1, width = in.width + 2 * padding - side + 1;
    Array out{layer.outputs, height, width, std::vector<double>(layer.outputs * height * width)};
    for (int64_t o = 0; o < layer.outputs; o++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++) {
                double sum = p.bias[o];
                for (int64_t c = 0; c < layer.inputs; c++)
                    for (int64_t i = 0; i < side; i++)
                        for (int64_t j = 0; j < side; j++) {
                            int64_t row = y + i - padding, column = x + j - padding;
                            if (row < 0 || column < 0 || row >= in.height || column >= in.width) continue;
                            sum += in.at(c, row, column) * p.weights[((o * layer.inputs + c) * side + i) * side + j];
                        }
                out.at(o, y, x) = layer.relu && sum < 0 ? 0 : sum;
            }
    return out;
}

Array normalize(Array& in) {
    Array out = in;
    for (int64_t c = 0; c < in.channels; c++)
        for (int64_t y = 0; y < in.height; y++)
            for (int64_t x = 0; x < in.width; x++) {
                double sum = 0;
                for (int64_t other = std::max<int64_t>(0, c - 2); other <= std::min(in.channels - 1, c + 2); other++)
                    sum += in.at(other, y, x) * in.at(other, y, x);
                out.at(c, y, x) = in.at(c, y, x) / std::pow(2 + 1e-4 * sum, 0.75);
            }
    return out;
}

Array pool(Array& in, int rounding) {
    int64_t extra = rounding == VD_POOL_CEIL;
    Array out{in.channels, (in.height + extra) / 2, (in.width + extra) / 2, {}};
    out.values.resize(out.channels * out.height * out.width);
    for (int64_t c = 0; c < out.channels; c++)
        for (int64_t y = 0; y < out.height; y++)
            for (int64_t x = 0; x < out.width; x++) {
                double best = in.at(c, 2 * y, 2 * x);
                for (int64_t i = 2 * y; i < std::min(in.height, 2 * y + 2); i++)
                    for (int64_t j = 2 * x; j < std::min(in.width, 2 * x + 2); j++) best = std::max(best, in.at(c, i, j));
                out.at(c, y, x) = best;
            }
    return out;
}

struct Net {
    std::vector<VdLayer> layers;
    std::vector<Parameters> parameters;

    void add(int kind, int inputs, int outputs, int side, bool relu, bool norm, int pooling) {
        Parameters p;
        for (int i = 0; i < inputs * outputs * side * side; i++)
            p.weights.push_back(draw() * std::sqrt(6.0f / float(inputs * side * side)));
        for (int o = 0; o < outputs; o++) p.bias.push_back(draw() / 10);
        parameters.push_back(p);
        layers.push_back({kind, inputs, outputs, side, relu, norm, pooling, 4, 0, nullptr, {}, nullptr});
    }
    VdNet* create(int instruction_set, int tile, int bf16, int threads) {
        for (size_t i = 0; i < layers.size(); i++) {
            VdLayer& layer = layers[i];
            int64_t area = layer.side * layer.side, strides[4] = {layer.inputs * area, area, layer.side, 1};
            std::copy(strides, strides + 4, layer.strides);
            layer.weights = parameters[i].weights.data(), layer.bias = parameters[i].bias.data();
            layers[i].tile = tile, layers[i].bf16 = bf16 && i > 0;
        }
        const float mean[3] = {0.1f, -0.2f, 0.3f};
        return vd_create(instruction_set, layers.data(), int(layers.size()), mean, threads);
    }
};

std::vector<double> compute_plainly(const Net& net, const float* image, int64_t height, int64_t width) {
    Array x{3, height, width, std::vector<double>(image, image + 3 * height * width)};
    const float mean[3] = {0.1f, -0.2f, 0.3f};
    for (int64_t i = 0; i < 3 * height * width; i++) x.values[i] -= mean[i / (height * width)];
    for (size_t i = 0; i < net.layers.size(); i++) {
        const VdLayer& layer = net.layers[i];
        x = convolve(x, layer, net.parameters[i], layer.side, layer.kind == VD_DENSE ? 0 : layer.side / 2);
        if (layer.norm) x = normalize(x);
        if (layer.pool) x = pool(x, layer.pool);
    }
    return x.values;
}

// The largest error of a batch, relative to the largest value.
double run_and_compare(const Net& net, VdNet* packed, int64_t count, int64_t height, int64_t width, int threads) {
    std::vector<float> images(count * 3 * height * width);
    for (float& value : images) value = draw();
    int last = int(net.layers.size()) - 1;
    int64_t shape[3], strides[4] = {3 * height * width, height * width, width, 1};
    if (vd_shape(packed, height, width, last, VD_POOL, shape) != VD_OK) return 0;
    int64_t size = shape[0] * shape[1] * shape[2];
    std::vector<float> scores(count * size);
    VdResult result{last, VD_POOL, scores.data()};
    if (vd_run(packed, images.data(), count, height, width, strides, &result, 1, 0, threads, nullptr) != VD_OK) return 1;
    double error = 0, largest = 0;
    for (int64_t n = 0; n < count; n++) {
        std::vector<double> exact = compute_plainly(net, images.data() + n * strides[0], height, width);
        for (int64_t i = 0; i < size; i++) {
            error = std::max(error, std::fabs(scores[n * size + i] - exact[i]));
            largest = std::max(largest, std::fabs(exact[i]));
        }
    }
    return error / largest;
}

}  // namespace

int main() {
    Net net;  // channels that no vector divides, both roundings, normalization, 1x1 convolution, dense layers
    net.add(VD_FIRST, 3, 19, 3, true, true, VD_POOL_NONE);
    net.add(VD_WINOGRAD, 19, 35, 3, true, false, VD_POOL_CEIL);
    net.add(VD_WINOGRAD, 35, 33, 3, true, false, VD_POOL_FLOOR);
    net.add(VD_DENSE, 33, 20, 1, true, false, VD_POOL_CEIL);
    net.add(VD_DENSE, 20, 70, 2, true, false, VD_POOL_NONE);
    net.add(VD_DENSE, 70, 5, 1, false, false, VD_POOL_NONE);
    Net tiles;  // fc6 by tiles of positions, where the map is large enough
    tiles.add(VD_FIRST, 3, 16, 3, true, false, VD_POOL_NONE);
    tiles.add(VD_DENSE, 16, 40, 7, true, false, VD_POOL_NONE);
    tiles.add(VD_DENSE, 40, 3, 1, false, false, VD_POOL_NONE);
    Net wide;  // 5x5 kernels, the first two layers apart; then together, with pooling
    wide.add(VD_FIRST, 3, 20, 5, true, false, VD_POOL_FLOOR);
    wide.add(VD_WINOGRAD, 20, 18, 5, true, false, VD_POOL_CEIL);
    wide.add(VD_DENSE, 18, 3, 1, false, false, VD_POOL_NONE);
    Net fused;
    fused.add(VD_FIRST, 3, 20, 3, true, false, VD_POOL_NONE);
    fused.add(VD_WINOGRAD, 20, 18, 3, true, false, VD_POOL_CEIL);
    const int64_t shapes[][3] = {{1, 12, 12}, {3, 17, 30}, {2, 61, 13}, {0, 20, 20}, {1, 5, 5}, {5, 12, 15}, {1, 9, 130}};
    double worst = 0, worst_bf16 = 0;
    int sets = vd_instruction_set();
    for (int set = 1; set <= sets; set++)
        for (int tile : {2, 4})
            for (int bf16 = 0; bf16 <= (set == VD_AVX512_BF16); bf16++)
                for (int threads : {1, 3}) {
                    for (Net* each : {&net, &tiles, &wide, &fused}) {
                        VdNet* packed = each->create(set, tile, bf16, threads);
                        if (!packed) return 1;
                        for (const auto& shape : shapes) {
                            double error = run_and_compare(*each, packed, shape[0], shape[1], shape[2], threads);
                            double& most = bf16 ? worst_bf16 : worst;
                            most = std::max(most, error);
                        }
                        vd_destroy(packed);
                    }
                }
    for (int set = 1; set <= sets; set++)
        if (!(vd_measure_peak(set, 0, 2) > 1e6)) return 1;
    VdNet* packed = net.create(sets, 4, 0, 2);  // one net, several callers
    std::vector<std::thread> callers;
    std::vector<int> failures(3);
    std::vector<float> image(3 * 40 * 40, 0.5f);
    for (int caller = 0; caller < 3; caller++)
        callers.emplace_back([&, caller] {
            for (int64_t side : {40, 20, 33}) {
                int64_t strides[4] = {3 * side * side, side * side, side, 1};
                std::vector<float> scores(5 * 100);
                VdResult result{5, VD_CONV, scores.data()};
                failures[caller] += vd_run(packed, image.data(), 1, side, side, strides, &result, 1, 0, 2, nullptr) != VD_OK;
            }
        });
    for (auto& caller : callers) caller.join();
    bool has_workspaces = vd_workspace_bytes(packed) > 0 && vd_weight_bytes(packed) > 0;
    vd_destroy(packed);
    std::printf("instruction sets %d, largest error %.1e, bf16 %.1e\n", sets, worst, worst_bf16);
    bool agree = worst < 1e-5 && worst_bf16 < 5e-2 && failures == std::vector<int>(3);
    return agree && has_workspaces ? 0 : 1;
}
