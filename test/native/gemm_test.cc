// Matrix products against plain loops: bit for bit, since the order of every sum
// is part of the contract, and against a wider type for the size of the error.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"

enum { kZero, kBias, kAccumulate, kAdd };  // bptt::cpu::<isa>::Init

template <class S>
struct Case {
  int64_t m, n, k;
  const S* a;
  int64_t a_row, a_k;
  const S* b;
  int64_t b_row, b_col;
  S* packed;
  int64_t panel_begin, panel_end;
  int init;
  const S* bias;
  S* c;
  int64_t c_row;
};

template <class S>
struct GemmEntries {
  int64_t width;
  int64_t (*packed_elements)(int64_t k, int64_t n);
  void (*run_case)(const Case<S>&);
};

struct Entries {
  GemmEntries<float> f32;
  GemmEntries<double> f64;
};

#define BPTT_ENTRIES "gemm_entries.inl"
#include "each_isa.inl"

namespace {

template <class S>
const GemmEntries<S>& of(const Entries& entries) {
  if constexpr (sizeof(S) == 4) {
    return entries.f32;
  } else {
    return entries.f64;
  }
}

uint64_t state = 1;
// In [-1, 1), and never so small that products become denormal.
template <class S>
S draw() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<S>((static_cast<double>(state >> 40) + 0.5) / (1 << 23) - 1);
}

// A matrix inside a larger buffer, off alignment, among NaNs that must be neither
// read nor overwritten.
template <class S>
struct Matrix {
  Matrix(int64_t rows, int64_t cols, bool transposed)
      : row(transposed ? 1 : cols + 3), col(transposed ? rows + 3 : 1), rows(rows), cols(cols) {
    data.assign(static_cast<size_t>((rows + 3) * (cols + 3) + 1), std::nan(""));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) at(i, j) = draw<S>();
    }
  }
  S* begin() { return data.data() + 1; }
  S& at(int64_t i, int64_t j) { return begin()[i * row + j * col]; }
  int64_t numbers() const {
    return std::count_if(data.begin(), data.end(), [](S x) { return !std::isnan(x); });
  }
  std::vector<S> data;
  int64_t row, col, rows, cols;
};

template <class S>
bool same_bits(S a, S b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

template <class S>
Case<S> describe(Matrix<S>& a, Matrix<S>& b, Matrix<S>& c, std::vector<S>& packed,
                 const GemmEntries<S>& entries, int init, const S* bias) {
  packed.assign(static_cast<size_t>(entries.packed_elements(b.rows, b.cols)), std::nan(""));
  return {a.rows, b.cols,        b.rows,    a.begin(),
          a.row,  a.col,         b.begin(), b.row,
          b.col,  packed.data(), 0,         (b.cols + entries.width - 1) / entries.width,
          init,   bias,          c.begin(), c.row};
}

template <class S>
void check_case(const Isa& isa, int64_t m, int64_t n, int64_t k, int init, bool a_transposed,
                bool b_transposed) {
  using Wide = std::conditional_t<sizeof(S) == 4, double, long double>;
  const GemmEntries<S>& entries = of<S>(*isa.entries);
  Matrix<S> a(m, k, a_transposed), b(k, n, b_transposed), c(m, n, false), bias(1, n, false);
  Matrix<S> before = c;
  std::vector<S> packed;
  entries.run_case(describe(a, b, c, packed, entries, init, bias.begin()));

  int64_t differ = 0, wrong = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const S was = before.at(i, j);
      S sum = init == kBias ? bias.at(0, j) : init == kAccumulate ? was : 0;
      Wide exact = init == kAdd ? was : sum, size = std::abs(exact);
      for (int64_t kk = 0; kk < k; ++kk) {
        const S x = a.at(i, kk), y = b.at(kk, j);
        sum = isa.fused ? std::fma(x, y, sum) : x * y + sum;
        exact += static_cast<Wide>(x) * y;
        size += std::abs(static_cast<Wide>(x) * y);
      }
      if (init == kAdd) sum = was + sum;
      differ += !same_bits(c.at(i, j), sum);
      const Wide bound = size * static_cast<Wide>(k + 1) * std::numeric_limits<S>::epsilon();
      wrong += !(std::abs(c.at(i, j) - exact) <= bound);
    }
  }
  CHECK_MSG(differ == 0 && wrong == 0 && c.numbers() == m * n,
            "%s float%d m %d n %d k %d init %d transposed %d %d: %d differ, %d wrong", isa.name,
            static_cast<int>(8 * sizeof(S)), static_cast<int>(m), static_cast<int>(n),
            static_cast<int>(k), init, a_transposed, b_transposed, static_cast<int>(differ),
            static_cast<int>(wrong));
}

// A product whose k is cut in two continues exactly; a row does not depend on
// the rows beside it; a range of panels touches its own columns only.
template <class S>
void check_parts(const Isa& isa, int64_t m, int64_t n, int64_t k) {
  const GemmEntries<S>& entries = of<S>(*isa.entries);
  Matrix<S> a(m, k, false), b(k, n, true), whole(m, n, false), bias(1, n, false);
  Matrix<S> cut = whole, alone = whole, ranged = whole;
  std::vector<S> packed;
  const Case<S> product = describe(a, b, whole, packed, entries, kBias, bias.begin());
  entries.run_case(product);

  const int64_t first = k / 3;
  Case<S> part = product;
  part.c = cut.begin();
  part.k = first;
  entries.run_case(part);
  part.k = k - first;
  part.a += first * part.a_k;
  part.b += first * part.b_row;
  part.init = kAccumulate;
  entries.run_case(part);

  part = product;
  part.m = 1;
  for (int64_t i = 0; i < m; ++i) {
    part.a = product.a + i * product.a_row;
    part.c = alone.begin() + i * product.c_row;
    entries.run_case(part);
  }

  part = product;
  part.c = ranged.begin();
  part.panel_begin = 1;
  part.panel_end = 2;
  const Matrix<S> before = ranged;
  const bool has_range = product.panel_end >= 2;
  if (has_range) entries.run_case(part);

  int64_t differ = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      differ += !same_bits(cut.at(i, j), whole.at(i, j));
      differ += !same_bits(alone.at(i, j), whole.at(i, j));
      const bool inside = has_range && j / entries.width == 1;
      const S expected = inside ? whole.at(i, j) : before.data[1 + i * before.row + j];
      differ += !same_bits(ranged.at(i, j), expected);
    }
  }
  CHECK_MSG(differ == 0, "%s float%d m %d n %d k %d: %d differ", isa.name,
            static_cast<int>(8 * sizeof(S)), static_cast<int>(m), static_cast<int>(n),
            static_cast<int>(k), static_cast<int>(differ));
}

// The packed layout itself: [panel][k][width], tail columns zero.
template <class S>
void check_packing(const Isa& isa, int64_t n, int64_t k, bool transposed) {
  const GemmEntries<S>& entries = of<S>(*isa.entries);
  Matrix<S> a(0, k, false), b(k, n, transposed), c(0, n, false);
  std::vector<S> packed;
  entries.run_case(describe<S>(a, b, c, packed, entries, kZero, nullptr));
  const int64_t panels = (n + entries.width - 1) / entries.width;
  bool ok = static_cast<int64_t>(packed.size()) == panels * k * entries.width;
  for (int64_t p = 0; ok && p < panels; ++p) {
    for (int64_t kk = 0; kk < k; ++kk) {
      for (int64_t j = 0; j < entries.width; ++j) {
        const int64_t column = p * entries.width + j;
        const S expected = column < n ? b.at(kk, column) : 0;
        ok = ok && same_bits(packed[(p * k + kk) * entries.width + j], expected);
      }
    }
  }
  CHECK_MSG(ok, "%s float%d n %d k %d", isa.name, static_cast<int>(8 * sizeof(S)),
            static_cast<int>(n), static_cast<int>(k));
}

template <class S>
void check_all(const Isa& isa) {
  int variant = 0;
  for (int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 29}) {
    for (int64_t n : {0, 1, 7, 8, 9, 17, 33, 64, 129}) {
      for (int64_t k : {0, 1, 3, 8, 64}) {
        for (int init : {kZero, kBias, kAccumulate, kAdd}) {
          ++variant;
          check_case<S>(isa, m, n, k, init, variant & 1, variant & 2);
        }
      }
      check_parts<S>(isa, m, n, 7);
    }
  }
  // Long sums; more rows than one block holds.
  check_case<S>(isa, 64, 129, 129, kBias, false, true);
  check_case<S>(isa, 70, 3, 2500, kZero, false, true);
  check_case<S>(isa, 70, 20, 2500, kAccumulate, true, false);
  check_case<S>(isa, 70, 65, 256, kAdd, true, false);
  check_parts<S>(isa, 13, 65, 300);
  for (int64_t n : {0, 1, 16, 17, 65}) {
    for (int64_t k : {0, 1, 5, 16, 33}) {
      check_packing<S>(isa, n, k, false);
      check_packing<S>(isa, n, k, true);
    }
  }
}

}  // namespace

int main() {
  for (const Isa& isa : each_isa()) {
    check_all<float>(isa);
    check_all<double>(isa);
  }
  return bptt_test::finish();
}
