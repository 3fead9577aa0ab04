// What the ops along the middle axis of [outer, n, inner] share: a line is the n elements of one
// place of [outer, inner].

// choose.template operator()<T>() for the type of the elements, which are numbers.
template <class F>
static bptt_code with_elements(bptt_context* context, bptt_dtype dtype, const F& choose) {
  switch (dtype) {
    case BPTT_FLOAT32:
      return choose.template operator()<float>();
    case BPTT_FLOAT64:
      return choose.template operator()<double>();
    case BPTT_INT32:
      return choose.template operator()<int32_t>();
    case BPTT_BOOL:
      break;
  }
  return no_kernel(context, dtype);
}

// Calls panel(o, column, width), width <= kColumns, for all of [outer, inner], on the team.
template <class Panel>
static void for_panels(int64_t outer, int64_t n, int64_t inner, const Panel& panel) {
  if (n == 0) return;  // of any number of lines: they have no element to compute
  const int64_t panels = (inner + kColumns - 1) / kColumns;
  const int64_t work = n * least(inner, kColumns);
  Team::instance().parallel_for(outer * panels, grain_of(work), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t column = task % panels * kColumns;
      panel(task / panels, column, least(inner - column, kColumns));
    }
  });
}

// The lines as adjacent rows: x itself where they are adjacent, else a copy in `room`, which is
// [outer, inner, n] of rows_bytes().
template <class T>
static const T* lines_as_rows(int64_t outer, int64_t n, int64_t inner, const T* x, T* room) {
  if (inner == 1) return x;
  const int64_t shape[] = {outer, inner, n};
  const int64_t from[] = {n * inner, 1, inner}, to[] = {n * inner, n, 1};
  copy_elements<T>(axes_in_order_of_b(3, shape, from, to), x, room);
  return room;
}

inline size_t rows_bytes(int64_t outer, int64_t n, int64_t inner, size_t element) {
  return inner == 1 ? 0 : static_cast<size_t>(outer * n * inner) * element;
}

template <class T>
BPTT_INLINE bool is_number(T x) {
  if constexpr (std::is_integral_v<T>) return true;
  return x == x;
}

// Without branches, so that vectors can ask. NaN is greater than all numbers.
template <class T>
BPTT_INLINE bool is_greater(T a, T b) {
  const bool beyond = !(a <= b), number = is_number(b);
  return beyond & number;
}
template <class T>
BPTT_INLINE bool is_less(T a, T b) {
  const bool beyond = !(a >= b), number = is_number(a);
  return beyond & number;
}
