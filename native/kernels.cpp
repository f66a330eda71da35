// All kernels for one instruction set. Compiled once for each: NAMESPACE and TABLE name the set, the compiler's options
// choose its instructions. Nothing here may use the standard library: its inline functions would be compiled for this
// set and used on processors that lack it.
#include <immintrin.h>

#include "layout.h"

namespace NAMESPACE {
#include "vectors.h"
#include "winograd.h"
#include "product.h"
#include "convolution.h"
#include "first.h"
#include "dense.h"
#include "elementwise.h"
}  // namespace NAMESPACE

const Kernels TABLE = {
    NAME, NAMESPACE::TILES, NAMESPACE::PANEL,
    NAMESPACE::pack_winograd, NAMESPACE::pack_dense, NAMESPACE::pack_first,
    NAMESPACE::winograd_scratch, NAMESPACE::dense_scratch, NAMESPACE::first_own, NAMESPACE::first_two_own,
    NAMESPACE::first, NAMESPACE::first_two, NAMESPACE::winograd, NAMESPACE::dense,
    NAMESPACE::pool, NAMESPACE::relu, NAMESPACE::multiply_registers, NAMESPACE::PEAK_OPERATIONS, NAMESPACE::lrn,
};
