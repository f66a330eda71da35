// Winograd's minimal filtering F(m x m, 3x3): m x m outputs of a 3x3 convolution from (m+2)^2 products instead of 9 m^2.
//
// With polynomials: the outputs y_i = sum_k d_(i+k) g_k, i < m, follow from products of values at m+1 points and at
// infinity (Toom and Cook, transposed). In matrices, in both dimensions: Y = A^T [(G g G^T) * (B^T d B)] A.
//
//   G: row j is (1, p, p^2) / N for the point p = p_j, where N is the product of p - q over the other points q;
//      the last row, infinity, is (0, 0, 1).
//   B^T: row j holds the coefficients of the product of (x - q) over the other points q; the last row those of the
//      product over all points.
//   A^T: row i holds p_j^i; in the last column only the last row is 1.
//
// F(4x4) has the points 0, +-sqrt(1/2), +-sqrt(2): their reciprocity keeps the numbers of all three matrices small, and
// halves the rounding error of the usual 0, +-1, +-2. F(2x2) has 0, +-1.


constexpr double SQRT_HALF = 0.70710678118654752440, SQRT_TWO = 1.41421356237309504880;

template <int M>
struct Winograd;

template <>
struct Winograd<4> {
    static constexpr int N = 6;
    static constexpr double G[6][3] = {
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
struct Winograd<2> {
    static constexpr int N = 4;
    static constexpr double G[4][3] = {{-1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

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

// A 7x7 kernel on a map, along a row: pairs of neighboring outputs from 9 products instead of 14, for each row of the
// kernel. The first three taps are F(2,3) with the points 0, +-1, the other four F(2,4) with 0, +-1, 2. F(2,7) would take 8
// products, but its eight points make the numbers so large that in bf16 it errs four times as much as the plain sum;
// this errs one and a half times as much.
struct WinogradPair {
    static constexpr int N = PAIR_POINTS, TAPS = 7, FIRST = 3;
    static constexpr double G[N][TAPS] = {
        {-1, 0, 0, 0, 0, 0, 0},
        {0.5, 0.5, 0.5, 0, 0, 0, 0},
        {0.5, -0.5, 0.5, 0, 0, 0, 0},
        {0, 0, 1, 0, 0, 0, 0},
        {0, 0, 0, 0.5, 0, 0, 0},
        {0, 0, 0, -0.5, -0.5, -0.5, -0.5},
        {0, 0, 0, -1.0 / 6, 1.0 / 6, -1.0 / 6, 1.0 / 6},
        {0, 0, 0, 1.0 / 6, 1.0 / 3, 2.0 / 3, 4.0 / 3},
        {0, 0, 0, 0, 0, 0, 1},
    };

    // t = B^T d, of the 8 numbers that a pair sees
    template <class V>
    static inline void input(const V* d, V* t) {
        Winograd<2>::input(d, t);
        const V* e = d + FIRST;
        t[4] = 2.0f * (e[0] - e[2]) + (e[3] - e[1]);
        t[5] = e[3] - e[2] - 2.0f * e[1];
        t[6] = e[3] - 3.0f * e[2] + 2.0f * e[1];
        t[7] = e[3] - e[1];
        t[8] = 2.0f * (e[1] - e[3]) + (e[4] - e[2]);
    }

    // y = A^T t
    template <class V>
    static inline void output(const V* t, V* y) {
        Winograd<2>::output(t, y);
        y[0] += (t[4] + t[5]) + (t[6] + t[7]);
        y[1] += (t[5] - t[6]) + (2.0f * t[7] + t[8]);
    }
};
