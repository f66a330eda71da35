// Winograd's minimal filtering F(m x m, r x r): m x m outputs of an r x r convolution from n^2 products, n = m+r-1, instead
// of m^2 r^2.
//
// With polynomials: the outputs y_i = sum_k d_(i+k) g_k, i < m, follow from products of values at n-1 points and at
// infinity (Toom and Cook, transposed). In matrices, in both dimensions: Y = A^T [(G g G^T) * (B^T d B)] A.
//
//   G: row j is (1, p, p^2 ...) / N for the point p = p_j, where N is the product of p - q over the other points q;
//      the last row, infinity, is (0 ... 0, 1).
//   B^T: row j holds the coefficients of the product of (x - q) over the other points q; the last row those of the
//      product over all points.
//   A^T: row i holds p_j^i; in the last column only the last row is 1.
//
// F(4x4, 3x3) has the points 0, +-sqrt(1/2), +-sqrt(2): their reciprocity keeps the numbers of all three matrices small,
// and halves the rounding error of the usual 0, +-1, +-2. F(2x2, 5x5), for the 5x5 convolutions of B-5x5, has the same, and
// so the same B^T. F(2x2, 3x3) has 0, +-1.

constexpr double SQRT_HALF = 0.70710678118654752440, SQRT_TWO = 1.41421356237309504880;

template <int M, int R>
struct Winograd;

template <>
struct Winograd<4, 3> {
    static constexpr int M = 4, R = 3, N = 6;
    static constexpr double G[N][R] = {
        {1, 0, 0},
        {-2.0 / 3, -2.0 / 3 * SQRT_HALF, -1.0 / 3},
        {-2.0 / 3, 2.0 / 3 * SQRT_HALF, -1.0 / 3},
        {1.0 / 6, SQRT_TWO / 6, 1.0 / 3},
        {1.0 / 6, -SQRT_TWO / 6, 1.0 / 3},
        {0, 0, 1},
    };

    // t = B^T d
    template <class V>
    static inline void input(const V* d, V* t) {
        const float a = float(SQRT_HALF), b = float(SQRT_TWO);
        V even = d[4] - 2.0f * d[2], odd = a * d[3] - b * d[1];
        V even2 = d[4] - 0.5f * d[2], odd2 = b * d[3] - a * d[1];
        t[0] = d[0] + (d[4] - 2.5f * d[2]);
        t[1] = even + odd;
        t[2] = even - odd;
        t[3] = even2 + odd2;
        t[4] = even2 - odd2;
        t[5] = d[1] + (d[5] - 2.5f * d[3]);
    }

    // y = A^T t
    template <class V>
    static inline void output(const V* t, V* y) {
        const float a = float(SQRT_HALF), b = float(SQRT_TWO);
        V sum = t[1] + t[2], difference = t[1] - t[2], sum2 = t[3] + t[4], difference2 = t[3] - t[4];
        y[0] = t[0] + sum + sum2;
        y[1] = a * difference + b * difference2;
        y[2] = 0.5f * sum + 2.0f * sum2;
        y[3] = (0.5f * a) * difference + (2.0f * b) * difference2 + t[5];
    }
};

template <>
struct Winograd<2, 5> : Winograd<4, 3> {
    static constexpr int M = 2, R = 5;
    static constexpr double G[N][R] = {
        {1, 0, 0, 0, 0},
        {-2.0 / 3, -2.0 / 3 * SQRT_HALF, -1.0 / 3, -1.0 / 3 * SQRT_HALF, -1.0 / 6},
        {-2.0 / 3, 2.0 / 3 * SQRT_HALF, -1.0 / 3, 1.0 / 3 * SQRT_HALF, -1.0 / 6},
        {1.0 / 6, SQRT_TWO / 6, 1.0 / 3, SQRT_TWO / 3, 2.0 / 3},
        {1.0 / 6, -SQRT_TWO / 6, 1.0 / 3, -SQRT_TWO / 3, 2.0 / 3},
        {0, 0, 0, 0, 1},
    };

    template <class V>
    static inline void output(const V* t, V* y) {
        y[0] = t[0] + (t[1] + t[2]) + (t[3] + t[4]);
        y[1] = float(SQRT_HALF) * (t[1] - t[2]) + float(SQRT_TWO) * (t[3] - t[4]) + t[5];
    }
};

template <>
struct Winograd<2, 3> {
    static constexpr int M = 2, R = 3, N = 4;
    static constexpr double G[N][R] = {{-1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

    template <class V>
    static inline void input(const V* d, V* t) {
        t[0] = d[2] - d[0];
        t[1] = d[2] + d[1];
        t[2] = d[2] - d[1];
        t[3] = d[3] - d[1];
    }

    template <class V>
    static inline void output(const V* t, V* y) {
        y[0] = t[0] + t[1] + t[2];
        y[1] = t[1] - t[2] + t[3];
    }
};
