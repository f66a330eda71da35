// A net as a list of layers: the shapes of its maps, its packed weights, its workspace, and one call that runs it.
//
// Maps of the first layers are large and would leave the cache, so a batch goes through them a few images at a time; from
// the third pooling on, where weights are large and maps small, the whole batch goes through together.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#include "engine.h"
#include "layout.h"

namespace {

constexpr int64_t GROUP_BYTES = 16 << 20;  // maps of a group of images
constexpr size_t HUGE_PAGE = 2 << 20;

// Memory on huge pages: weights and transformed inputs are read in strides that exhaust the table of small ones.
struct Memory {
    char* data = nullptr;
    size_t bytes = 0;

    Memory() = default;
    Memory(const Memory&) = delete;
    Memory(Memory&& other) noexcept : data(other.data), bytes(other.bytes) { other.data = nullptr, other.bytes = 0; }
    Memory& operator=(Memory&& other) noexcept {
        std::swap(data, other.data);
        std::swap(bytes, other.bytes);
        return *this;
    }
    ~Memory() { release(); }

    void release() {
        if (data) munmap(data, bytes);
        data = nullptr, bytes = 0;
    }
    // Throws std::bad_alloc.
    void reserve(size_t wanted) {
        if (wanted <= bytes) return;
        release();
        size_t rounded = (wanted + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        void* memory = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        madvise(memory, rounded, MADV_HUGEPAGE);
        data = static_cast<char*>(memory), bytes = rounded;
    }
    float* floats() const { return reinterpret_cast<float*>(data); }
};

struct Workspace {
    Memory maps[2], boundary, shared, own;
    size_t bytes() const { return maps[0].bytes + maps[1].bytes + boundary.bytes + shared.bytes + own.bytes; }
};

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

struct VdNet {
    const Kernels* kernels;
    int num_threads;  // that pack
    std::vector<VdLayer> layers;
    std::vector<Weights> weights, filtered_weights;  // the latter for fc6 on maps, packed when they are needed
    std::vector<Memory> memory;
    float mean[3];
    int64_t weight_bytes = 0;
    std::mutex packing, mutex;
    std::vector<Workspace> workspaces;  // that no call is using
};

namespace {

// Of fc6 on a map: products of a tile of positions.
int64_t filtered_products(bool bf16) { return bf16 ? 7 * 9 : 9 * 9; }

// Throws std::bad_alloc.
Weights pack(VdNet& net, const VdLayer& layer, bool filtered) {
    int panel = net.kernels->panel_outputs;
    Weights packed{};
    packed.inputs = layer.inputs, packed.outputs = layer.outputs;
    packed.input_blocks = (layer.inputs + BLOCK - 1) / BLOCK;
    packed.output_panels = (layer.outputs + panel - 1) / panel;
    packed.tile = layer.tile, packed.side = layer.side, packed.filtered = filtered;
    int64_t steps = layer.bf16 ? (packed.input_blocks + 1) / 2 : packed.input_blocks;
    int input_tile = layer.side == 5 ? 6 : layer.tile + 2;  // of Winograd's
    int64_t positions = layer.kind == VD_WINOGRAD ? input_tile * input_tile
                        : filtered                ? filtered_products(layer.bf16)
                                                  : layer.side * layer.side;
    int64_t bias_bytes = int64_t(packed.output_panels) * panel * 4;
    packed.bytes = positions * steps * BLOCK * bias_bytes + bias_bytes;
    Memory memory;
    memory.reserve(packed.bytes);
    packed.bias = memory.floats();
    packed.packed = memory.data + bias_bytes;
    Source source{layer.weights, {layer.strides[0], layer.strides[1], layer.strides[2], layer.strides[3]}};
    if (layer.kind == VD_FIRST)
        net.kernels->pack_first(source, layer.bias, packed);
    else if (layer.kind == VD_WINOGRAD)
        net.kernels->pack_winograd(source, layer.bias, layer.bf16, packed, net.num_threads);
    else
        net.kernels->pack_dense(source, layer.bias, layer.bf16, packed, net.num_threads);
    net.memory.push_back(std::move(memory));
    net.weight_bytes += packed.bytes;
    return packed;
}

struct Shape {
    int64_t channels, height, width;
};

struct LayerShapes {
    Shape before, conv, after;  // input, output of the convolution, output of the pooling
};

Map make_map(const Shape& shape, int64_t images, int64_t border) {
    Map map{};
    map.images = images, map.height = shape.height, map.width = shape.width, map.border = border;
    map.blocks = (shape.channels + BLOCK - 1) / BLOCK;
    map.rows = border ? round_up(shape.height, 4) + 2 * border : shape.height;
    map.columns = border ? round_up(shape.width, 4) + 2 * border : shape.width;
    return map;
}

// The shapes of all layers up to `last`; false if a kernel or a pooling window does not fit.
bool infer_shapes(const VdNet& net, int last, int64_t height, int64_t width, int average,
                  std::vector<LayerShapes>& shapes) {
    Shape shape{3, height, width};
    for (int i = 0; i <= last; i++) {
        const VdLayer& layer = net.layers[i];
        LayerShapes layer_shapes{};
        if (average && i + 1 == int(net.layers.size())) shape.height = shape.width = 1;
        layer_shapes.before = shape;
        shape.channels = layer.outputs;
        if (layer.kind == VD_DENSE) shape.height -= layer.side - 1, shape.width -= layer.side - 1;
        if (shape.height < 1 || shape.width < 1) return false;
        layer_shapes.conv = shape;
        if (layer.pool == VD_POOL_CEIL) shape.height = (shape.height + 1) / 2, shape.width = (shape.width + 1) / 2;
        if (layer.pool == VD_POOL_FLOOR) shape.height /= 2, shape.width /= 2;
        layer_shapes.after = shape;
        shapes.push_back(layer_shapes);
    }
    return true;
}

void clear_border(const Map& map, int threads) {
    if (!map.border) return;
    int64_t claimed = 0, row_bytes = map.columns * BLOCK * 4;
    parallel(threads, [&](int) {
        for (int64_t item; (item = claim(claimed)) < map.images * map.blocks;) {
            float* first = map.at(item / map.blocks, item % map.blocks, -map.border, -map.border);
            for (int64_t row = 0; row < map.rows; row++) {
                float* p = first + row * map.columns * BLOCK;
                if (row < map.border || row >= map.border + map.height) {
                    std::memset(p, 0, row_bytes);
                } else {
                    std::memset(p, 0, map.border * BLOCK * 4);
                    int64_t end = map.border + map.width;
                    std::memset(p + end * BLOCK, 0, (map.columns - end) * BLOCK * 4);
                }
            }
        }
    });
}

// A map as (images, channels, height, width) in the caller's array.
void write_array(const Map& map, int64_t channels, float* array, int threads) {
    int64_t claimed = 0;
    parallel(threads, [&](int) {
        for (int64_t item; (item = claim(claimed)) < map.images * map.blocks;) {
            int64_t image = item / map.blocks, block = item % map.blocks;
            for (int64_t c = 0; c < BLOCK && block * BLOCK + c < channels; c++) {
                float* to = array + (image * channels + block * BLOCK + c) * map.height * map.width;
                for (int64_t y = 0; y < map.height; y++)
                    for (int64_t x = 0; x < map.width; x++) *to++ = map.at(image, block, y, x)[c];
            }
        }
    });
}

void average_positions(const Map& in, const Map& out) {
    for (int64_t image = 0; image < in.images; image++)
        for (int64_t block = 0; block < in.blocks; block++)
            for (int c = 0; c < BLOCK; c++) {
                double sum = 0;
                for (int64_t y = 0; y < in.height; y++)
                    for (int64_t x = 0; x < in.width; x++) sum += in.at(image, block, y, x)[c];
                out.at(image, block, 0, 0)[c] = float(sum / double(in.height * in.width));
            }
}

// One call: its shapes, its memory, and the walk through the layers.
struct Call {
    VdNet& net;
    Images images;
    const VdResult* results;
    int num_results, average, threads;
    double* seconds;  // of each layer, added up; may be null
    int last = -1;  // layer that a result is wanted of
    std::vector<LayerShapes> shapes;
    Workspace work;
    int64_t own_floats = 0;

    bool wants(int layer, int stage) const {
        for (int i = 0; i < num_results; i++)
            if (results[i].layer == layer && results[i].stage == stage) return true;
        return false;
    }

    void write_results(int layer, int stage, const Map& map, const Shape& shape, int64_t start) const {
        for (int i = 0; i < num_results; i++)
            if (results[i].layer == layer && results[i].stage == stage)
                write_array(map, shape.channels, results[i].array + start * shape.channels * shape.height * shape.width,
                            threads);
    }

    // What of a layer runs inside its convolution, and what after it.
    bool fuses_relu(int layer) const { return net.layers[layer].relu && !wants(layer, VD_CONV); }
    bool fuses_pool(int layer) const {
        const VdLayer& l = net.layers[layer];
        return l.pool && l.kind == VD_WINOGRAD && !l.norm && fuses_relu(layer) && !wants(layer, VD_RELU);
    }
    // The border of a layer's input: half of its kernel.
    int64_t border_before(int layer) const {
        bool exists = layer < int(net.layers.size()) && net.layers[layer].kind == VD_WINOGRAD;
        return exists ? net.layers[layer].side / 2 : 0;
    }
    // Whether the first two layers run as one, unless a result is wanted of the first.
    bool fuses_first() const {
        const VdLayer& l = net.layers[0];
        return last > 0 && l.kind == VD_FIRST && l.side == 3 && !l.norm && !l.pool &&
               net.layers[1].kind == VD_WINOGRAD && net.layers[1].side == 3 && !wants(0, VD_CONV) && !wants(0, VD_RELU) &&
               !wants(0, VD_NORM) && !wants(0, VD_POOL);
    }

    // Whether fc6 takes tiles of positions: 2x2, in bf16 1x2. To read more weights takes the time of about four tiles. The
    // map of one image decides, so that results do not depend on the batch.
    bool filters(int layer) const {
        const VdLayer& l = net.layers[layer];
        const Shape& out = shapes[layer].conv;
        if (l.kind != VD_DENSE || l.side != 7) return false;
        int64_t tiles = (l.bf16 ? out.height : (out.height + 1) / 2) * ((out.width + 1) / 2);
        return (tiles + 4) * filtered_products(l.bf16) < out.height * out.width * 49;
    }
    const Weights& weights_of(int layer) const { return filters(layer) ? net.filtered_weights[layer] : net.weights[layer]; }

    void pack_filtered() {
        std::lock_guard<std::mutex> lock(net.packing);
        for (int i = 0; i <= last; i++)
            if (filters(i) && !net.filtered_weights[i].packed) net.filtered_weights[i] = pack(net, net.layers[i], true);
    }

    Map input_map(int layer, int64_t count) const {
        return make_map(shapes[layer].before, count, border_before(layer));
    }
    // The map that the convolution writes, and whether it is the layer's last.
    Map conv_map(int layer, int64_t count) const {
        const VdLayer& l = net.layers[layer];
        bool ends = !l.norm && (!l.pool || fuses_pool(layer));
        return make_map(fuses_pool(layer) ? shapes[layer].after : shapes[layer].conv, count,
                        ends ? border_before(layer + 1) : 0);
    }

    void reserve(int first, int end, int64_t count) {
        int64_t map_floats = 0, shared = 0, own = 0;
        for (int i = first; i < end; i++) {
            const VdLayer& layer = net.layers[i];
            Map in = input_map(i, count), out = conv_map(i, count);
            bool fused = i <= 1 && fuses_first();
            if (!fused || i == 1)
                map_floats = std::max({map_floats, i && !fused ? in.floats() : 0, out.floats(),
                                       make_map(shapes[i].after, count, border_before(i + 1)).floats(),
                                       layer.norm ? make_map(shapes[i].conv, count, border_before(i + 1)).floats() : 0});
            int64_t floats[2] = {0, 0};
            if (fused)
                floats[1] = i ? net.kernels->first_two_own(in, net.weights[i], layer.bf16, threads) : 0;
            else if (layer.kind == VD_FIRST)
                floats[1] = net.kernels->first_own(out, net.weights[i]);
            else if (layer.kind == VD_WINOGRAD)
                net.kernels->winograd_scratch(in, net.weights[i], layer.bf16, threads, floats);
            else
                net.kernels->dense_scratch(in, weights_of(i), layer.bf16, threads, floats);
            shared = std::max(shared, floats[0]), own = std::max(own, floats[1]);
        }
        for (Memory& maps : work.maps) maps.reserve(map_floats * 4);
        work.shared.reserve(shared * 4);
        own_floats = std::max(own_floats, round_up(own, 1024) + 512);  // threads' parts in different cache sets
        work.own.reserve(own_floats * threads * 4);
    }

    // Run layers [first, end) on `count` images from number `start` on. The last map goes to `target` if it is not null.
    void run(int first, int end, int64_t start, int64_t count, const float* input, float* target) {
        Images group = images;
        group.data += start * images.strides[0];
        Scratch scratch{work.shared.floats(), work.own.floats(), own_floats, threads};
        const float* current = input;
        auto next_memory = [&](bool is_last) {
            if (is_last && target) return target;
            return current == work.maps[0].floats() ? work.maps[1].floats() : work.maps[0].floats();
        };
        for (int i = first; i < end; i++) {
            const VdLayer& layer = net.layers[i];
            bool fused = i <= 1 && fuses_first();
            if (fused && i == 0) continue;
            auto begin = std::chrono::steady_clock::now();
            Map in = input_map(i, count), out = conv_map(i, count);
            in.data = const_cast<float*>(current);
            if (average && i + 1 == int(net.layers.size())) {
                Map whole = make_map(shapes[i - 1].after, count, false);
                whole.data = in.data;
                in.data = next_memory(false);
                average_positions(whole, in);
                current = in.data;
            }
            bool pools_later = layer.pool && !fuses_pool(i);
            out.data = next_memory(i + 1 == end && !layer.norm && !pools_later);
            clear_border(out, threads);
            const Weights& weights = weights_of(i);
            if (fused)
                net.kernels->first_two(group, net.weights[0], net.layers[0].relu, in, out, weights, layer.bf16,
                                       fuses_relu(i), fuses_pool(i), scratch);
            else if (layer.kind == VD_FIRST)
                net.kernels->first(group, out, weights, fuses_relu(i), scratch);
            else if (layer.kind == VD_WINOGRAD)
                net.kernels->winograd(in, out, weights, layer.bf16, fuses_relu(i), fuses_pool(i), scratch);
            else
                net.kernels->dense(in, out, weights, layer.bf16, fuses_relu(i), scratch);
            write_results(i, VD_CONV, out, shapes[i].conv, start);
            if (layer.relu && !fuses_relu(i)) net.kernels->relu(out, threads);
            write_results(i, VD_RELU, out, shapes[i].conv, start);
            current = out.data;
            if (layer.norm) {
                Map normed = make_map(shapes[i].conv, count, layer.pool ? 0 : border_before(i + 1));
                normed.data = next_memory(i + 1 == end && !pools_later);
                clear_border(normed, threads);
                net.kernels->lrn(out, normed, layer.outputs, threads);
                out = normed;
                current = out.data;
            }
            write_results(i, VD_NORM, out, shapes[i].conv, start);
            if (pools_later) {
                Map pooled = make_map(shapes[i].after, count, border_before(i + 1));
                pooled.data = next_memory(i + 1 == end);
                clear_border(pooled, threads);
                net.kernels->pool(out, pooled, threads);
                out = pooled;
                current = out.data;
            }
            write_results(i, VD_POOL, out, shapes[i].after, start);
            if (seconds) seconds[i] += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        }
    }

    // The last layer that runs on groups of images: that of the third pooling; -1: none.
    int boundary() const {
        int pools = 0;
        for (int i = 0; i < last; i++) {
            pools += net.layers[i].pool != VD_POOL_NONE;
            if (pools == 3) return i;
        }
        return -1;
    }

    void run_all(int64_t count) {
        int split = count > 1 ? boundary() + 1 : 0;
        if (split == 0) {
            reserve(0, last + 1, count);
            run(0, last + 1, 0, count, nullptr, nullptr);
            return;
        }
        int64_t largest = 1;
        for (int i = fuses_first() ? 1 : 0; i < split; i++) largest = std::max(largest, conv_map(i, 1).floats() * 4);
        int64_t group = std::min(count, std::max<int64_t>(1, GROUP_BYTES / largest));
        reserve(0, split, group);
        reserve(split, last + 1, count);
        Map whole = input_map(split, count);
        work.boundary.reserve(whole.floats() * 4);
        float* maps = work.boundary.floats();
        for (int64_t start = 0; start < count; start += group)
            run(0, split, start, std::min(group, count - start), nullptr, maps + whole.floats() / count * start);
        run(split, last + 1, 0, count, maps, nullptr);
    }
};

}  // namespace

extern "C" {

VdNet* vd_create(int instruction_set, const VdLayer* layers, int num_layers, const float* mean, int num_threads) {
    VdNet* net = nullptr;
    try {
        net = new VdNet;
        net->kernels = &kernels_of(instruction_set), net->num_threads = num_threads;
        std::copy(mean, mean + 3, net->mean);
        net->layers.assign(layers, layers + num_layers);
        for (const VdLayer& layer : net->layers) net->weights.push_back(pack(*net, layer, false));
        net->filtered_weights.resize(num_layers);
        return net;
    } catch (const std::bad_alloc&) {
        delete net;
        return nullptr;
    }
}

void vd_destroy(VdNet* net) { delete net; }

int64_t vd_weight_bytes(VdNet* net) {
    std::lock_guard<std::mutex> lock(net->packing);
    return net->weight_bytes;
}

int64_t vd_workspace_bytes(VdNet* net) {
    std::lock_guard<std::mutex> lock(net->mutex);
    int64_t bytes = 0;
    for (const Workspace& workspace : net->workspaces) bytes += int64_t(workspace.bytes());
    return bytes;
}

int vd_shape(const VdNet* net, int64_t height, int64_t width, int layer, int stage, int64_t* shape) {
    try {
        std::vector<LayerShapes> shapes;
        if (!infer_shapes(*net, layer, height, width, 0, shapes)) return VD_TOO_SMALL;
        const Shape& found = stage == VD_POOL ? shapes[layer].after : shapes[layer].conv;
        if (found.height < 1 || found.width < 1) return VD_TOO_SMALL;
        shape[0] = found.channels, shape[1] = found.height, shape[2] = found.width;
    } catch (const std::bad_alloc&) {
        return VD_OUT_OF_MEMORY;
    }
    return VD_OK;
}

int vd_run(VdNet* net, const float* images, int64_t count, int64_t height, int64_t width, const int64_t* strides,
           const VdResult* results, int num_results, int average, int num_threads, double* seconds) {
    try {
        Call call{*net, {images, strides, net->mean, height, width}, results, num_results, average, num_threads, seconds,
                  -1, {}, {}};
        for (int i = 0; i < num_results; i++) call.last = std::max(call.last, results[i].layer);
        call.average = average && call.last + 1 == int(net->layers.size());
        if (!infer_shapes(*net, call.last, height, width, 0, call.shapes)) return VD_TOO_SMALL;
        call.shapes.clear();
        infer_shapes(*net, call.last, height, width, call.average, call.shapes);
        if (count == 0) return VD_OK;
        {
            std::lock_guard<std::mutex> lock(net->mutex);
            if (!net->workspaces.empty()) {
                call.work = std::move(net->workspaces.back());
                net->workspaces.pop_back();
            }
        }
        call.pack_filtered();
        call.run_all(count);
        std::lock_guard<std::mutex> lock(net->mutex);
        net->workspaces.push_back(std::move(call.work));
    } catch (const std::bad_alloc&) {
        return VD_OUT_OF_MEMORY;
    }
    return VD_OK;
}
}
