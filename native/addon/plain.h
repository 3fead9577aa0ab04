// Plain ops: marshalled from their C signature, which says what each argument is.
//
//   bptt_dtype        the elements of all buffers but positions; the first argument
//   an enum           one of its enumerators; but for bptt_reduction the op's name in messages
//   int64_t           a size, at least 0
//   int32_t           an integer
//   double            a number
//   bptt_rng          two arguments of JavaScript: seed and offset
//   const void*       an input
//   void*             an output
//   const int32_t*    an input of positions, which outputs may not overlap: the kernel checks
//                     them before it writes
//   int32_t*          an output of positions
//
// Buffers come last. What the signature cannot say stands in the line of the op (ops.cc): how
// many elements each buffer has, as a function of the enums and sizes, in their order, and
// which buffers may be null.
#pragma once

#include <array>
#include <tuple>
#include <type_traits>

#include "addon/call.h"

namespace bptt::addon {

// Elements of a buffer. As a double, so that what a sum or product of sizes overflows to is
// refused and not wrapped.
struct Extent {
  Extent(double elements_, bool optional_ = false) : elements(elements_), optional(optional_) {}
  double elements;
  bool optional;
};
// A buffer that may be null.
inline Extent maybe(double elements) { return {elements, true}; }

template <class T>
constexpr bool is_positions = std::is_same_v<T, const int32_t*>;
template <class T>
constexpr bool is_kind = std::is_enum_v<T> && !std::is_same_v<T, bptt_reduction>;

// -- one argument --------------------------------------------------------------

template <class T>
T read_scalar(Call& call) {
  if constexpr (std::is_enum_v<T>) {
    return call.option<T>();
  } else if constexpr (std::is_same_v<T, bptt_rng>) {
    return call.rng();
  } else if constexpr (std::is_same_v<T, double>) {
    return call.number();
  } else if constexpr (std::is_same_v<T, int32_t>) {
    return static_cast<T>(call.integer(INT32_MIN, INT32_MAX));
  } else {
    static_assert(std::is_same_v<T, int64_t>, "a parameter that no plain op has");
    return call.count();
  }
}

template <class T>
T read_buffer(Call& call, bptt_dtype dtype, const Extent& extent) {
  const int64_t count = to_integer(extent.elements, 0, kLargestCount);
  const napi_value handle = extent.optional ? call.optional() : call.next();
  if (extent.optional && !handle) return nullptr;
  if constexpr (std::is_same_v<T, void*>) {
    return call.output(handle, count, dtype);
  } else if constexpr (std::is_same_v<T, int32_t*>) {
    return static_cast<T>(call.output(handle, count, BPTT_INT32));
  } else {
    static_assert(is_positions<T> || std::is_same_v<T, const void*>, "a buffer of no plain op");
    return static_cast<T>(call.input(handle, count, is_positions<T> ? BPTT_INT32 : dtype));
  }
}

// What the extents are computed from: a tuple of nothing, or of a size or enum.
template <class T>
auto as_size(T value) {
  if constexpr (std::is_same_v<T, int64_t>) {
    return std::tuple(static_cast<double>(value));
  } else if constexpr (std::is_enum_v<T>) {
    return std::tuple(value);
  } else {
    return std::tuple();
  }
}

// -- a whole call ---------------------------------------------------------------

template <class Entry>
struct Plain;

template <class... Parameters>
struct Plain<bptt_code (*bptt_ops::*)(bptt_context*, bptt_dtype, Parameters...)> {
  using Entry = bptt_code (*bptt_ops::*)(bptt_context*, bptt_dtype, Parameters...);
  using Arguments = std::tuple<Parameters...>;
  static constexpr size_t kCount = sizeof...(Parameters);
  static constexpr size_t kBuffers = (size_t{std::is_pointer_v<Parameters>} + ...);
  static constexpr size_t kScalars = kCount - kBuffers;

  template <size_t i>
  using Parameter = std::tuple_element_t<i, Arguments>;

  // extents(enums and sizes...) -> std::array<Extent, number of buffers>
  template <class Extents>
  static napi_value run(Call& call, Entry entry, const char* name, Extents extents) {
    const bptt_dtype dtype = call.dtype();
    Arguments arguments{};
    read_scalars(call, arguments, name, std::make_index_sequence<kScalars>());
    const std::array<Extent, kBuffers> of_buffers = std::apply(
        [&](auto... values) { return std::apply(extents, std::tuple_cat(as_size(values)...)); },
        arguments);
    read_buffers(call, arguments, dtype, of_buffers, std::make_index_sequence<kBuffers>());
    std::apply([&](auto... values) { (refuse_overlap(values, arguments), ...); }, arguments);
    return call.enqueue(name, [=](const bptt_ops& ops, bptt_context* context) {
      return std::apply([&](auto... values) { return (ops.*entry)(context, dtype, values...); },
                        arguments);
    });
  }

 private:
  template <size_t... i>
  static void read_scalars(Call& call, Arguments& arguments, const char*& name,
                           std::index_sequence<i...>) {
    static_assert((!std::is_pointer_v<Parameter<i>> && ...), "buffers come last");
    const auto read = [&]<class T>(T& argument) {
      argument = read_scalar<T>(call);
      if constexpr (is_kind<T>) name = name_of(argument);
    };
    (read(std::get<i>(arguments)), ...);
  }

  template <size_t... i>
  static void read_buffers(Call& call, Arguments& arguments, bptt_dtype dtype,
                           const std::array<Extent, kBuffers>& extents, std::index_sequence<i...>) {
    ((std::get<kScalars + i>(arguments) =
          read_buffer<Parameter<kScalars + i>>(call, dtype, extents[i])),
     ...);
  }

  template <class T>
  static void refuse_overlap(T value, const Arguments& arguments) {
    if constexpr (is_positions<T>) {
      const auto refuse = [&]<class Other>(Other other) {
        if constexpr (std::is_same_v<Other, void*>) {
          if (other == value) broken("an output over the indices or targets of its op");
        }
      };
      std::apply([&](auto... others) { (refuse(others), ...); }, arguments);
    }
  }
};

}  // namespace bptt::addon
