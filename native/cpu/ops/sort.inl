// Lines in order, stable, or the first k elements of that order. NaN is greater than all numbers.

template <class T>
struct SortItem {
  T value;
  int32_t at;
};

template <bool kDescending, class T>
BPTT_INLINE bool comes_before(const SortItem<T>& a, const SortItem<T>& b) {
  return kDescending ? is_greater(a.value, b.value) : is_less(a.value, b.value);
}

// Puts an item into items [0, count), which are in order: behind its equals, so the order is
// stable.
template <bool kDescending, class T>
BPTT_INLINE void insert_item(SortItem<T>* items, int64_t count, SortItem<T> item) {
  int64_t at = count;
  for (; at > 0 && comes_before<kDescending>(item, items[at - 1]); --at) items[at] = items[at - 1];
  items[at] = item;
}

// items [k] become the first k of x [n], 0 < k <= n, by insertion: for a small k.
template <bool kDescending, class T>
static void pick_first(int64_t n, int64_t k, const T* x, SortItem<T>* items) {
  for (int64_t i = 0; i < k; ++i)
    insert_item<kDescending>(items, i, SortItem<T>{x[i], static_cast<int32_t>(i)});
  for (int64_t i = k; i < n; ++i) {
    const SortItem<T> item{x[i], static_cast<int32_t>(i)};
    if (comes_before<kDescending>(item, items[k - 1])) insert_item<kDescending>(items, k - 1, item);
  }
}

constexpr int64_t kSortRun = 16;     // runs of so many are sorted by insertion, then merged
constexpr int64_t kMostPicked = 64;  // for a larger k the whole line is sorted

// [begin, middle) and [middle, end) of `from`, each in order, into `to`.
template <bool kDescending, class T>
static void merge_items(int64_t begin, int64_t middle, int64_t end, const SortItem<T>* from,
                        SortItem<T>* to) {
  int64_t a = begin, b = middle;
  for (int64_t i = begin; i < end; ++i) {
    const bool right = a == middle || (b < end && comes_before<kDescending>(from[b], from[a]));
    to[i] = from[right ? b++ : a++];
  }
}

// The items of x [n] in order; the result is one of the halves of room [2 * n].
template <bool kDescending, class T>
static const SortItem<T>* sort_items(int64_t n, const T* x, SortItem<T>* room) {
  SortItem<T>*from = room, *to = room + n;
  for (int64_t begin = 0; begin < n; begin += kSortRun) {
    const int64_t end = least(begin + kSortRun, n);
    for (int64_t i = begin; i < end; ++i)
      insert_item<kDescending>(from + begin, i - begin, SortItem<T>{x[i], static_cast<int32_t>(i)});
  }
  for (int64_t run = kSortRun; run < n; run *= 2) {
    for (int64_t begin = 0; begin < n; begin += 2 * run)
      merge_items<kDescending>(begin, least(begin + run, n), least(begin + 2 * run, n), from, to);
    SortItem<T>* const merged = to;
    to = from;
    from = merged;
  }
  return from;
}

template <bool kDescending, class T>
static bptt_code sort_lines(bptt_context* context, int64_t k, int64_t outer, int64_t n,
                            int64_t inner, const T* x, T* values, int32_t* index) {
  const int64_t lines = outer * inner;
  k = least(k, n);
  if (lines == 0 || k == 0) return BPTT_OK;
  // Each share of the lines has room of its own.
  const bool few = k <= kMostPicked && k < n;
  const int64_t room = few ? k : 2 * n;
  const int64_t shares = least(least(lines, Team::instance().size()), most(lines * n / kGrain, 1));
  const size_t copied = (rows_bytes(outer, n, inner, sizeof(T)) + 63) / 64 * 64;
  const size_t items = static_cast<size_t>(shares * room) * sizeof(SortItem<T>);
  char* memory = static_cast<char*>(scratch(context, copied + items));
  if (!memory) return BPTT_OUT_OF_MEMORY;
  const T* rows = lines_as_rows(outer, n, inner, x, reinterpret_cast<T*>(memory));
  auto* const rooms = reinterpret_cast<SortItem<T>*>(memory + copied);
  const bptt_context* op = RunningOp::current();
  Team::instance().parallel_for(shares, 1, [&](int64_t first, int64_t last) {
    for (int64_t share = first; share < last; ++share) {
      SortItem<T>* own = rooms + share * room;
      const int64_t end = lines * (share + 1) / shares;
      for (int64_t line = lines * share / shares; line < end && !is_cancelled(op); ++line) {
        const SortItem<T>* sorted = own;
        if (few) {
          pick_first<kDescending>(n, k, rows + line * n, own);
        } else {
          sorted = sort_items<kDescending>(n, rows + line * n, own);
        }
        const int64_t to = line / inner * k * inner + line % inner;
        for (int64_t i = 0; i < k; ++i) {
          values[to + i * inner] = sorted[i].value;
          index[to + i * inner] = sorted[i].at;
        }
      }
    }
  });
  return BPTT_OK;
}

static bptt_code sort_impl(bptt_context* context, bptt_dtype dtype, int32_t descending, int64_t k,
                           int64_t outer, int64_t n, int64_t inner, const void* x, void* values,
                           int32_t* index) {
  return with_elements(context, dtype, [&]<class T>() {
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(values);
    return descending ? sort_lines<true>(context, k, outer, n, inner, from, to, index)
                      : sort_lines<false>(context, k, outer, n, inner, from, to, index);
  });
}
