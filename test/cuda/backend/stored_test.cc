// Conversions to and from 16 bits, as the kernels do them, against conversions by other means:
// every number of 16 bits, those between two of them with their neighbours, and random ones.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>

#include "cuda/recurrent/kernel_arguments.h"
#include "cudnn/number.h"
#include "driver/fake_test.h"

using namespace bptt_fake_test;
using namespace bptt::cuda;

namespace {

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// A type of 16 bits by plain definition.
struct Type {
  const char* name;
  StoredAs stored;
  int exponent_bits, fraction_bits;

  // Of 15 bits; infinity counts as the power of two that follows the largest number.
  double size_of(int bits) const {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = bits >> fraction_bits, fraction = bits & ((1 << fraction_bits) - 1);
    const int leading = exponent > 0 ? 1 << fraction_bits : 0;
    return std::ldexp(leading + fraction, std::max(exponent, 1) - bias - fraction_bits);
  }
  int infinity() const { return ((1 << exponent_bits) - 1) << fraction_bits; }

  double wide(uint16_t bits) const {
    const int size = bits & 0x7fff;
    const double value = size > infinity() ? NAN : size == infinity() ? HUGE_VAL : size_of(size);
    return bits >> 15 ? -value : value;
  }
  // The nearest of two neighbours, found by halving; the even one where both are as near.
  uint16_t narrow(float value) const {
    const int sign = std::signbit(value) ? 0x8000 : 0;
    const double size = std::fabs(static_cast<double>(value));
    if (!(size < size_of(infinity()))) return static_cast<uint16_t>(sign | infinity());
    int low = 0, high = infinity();
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (size_of(middle) <= size ? low : high) = middle;
    }
    const double below = size - size_of(low), above = size_of(high) - size;
    const bool up = above < below || (above == below && low % 2 == 1);
    return static_cast<uint16_t>(sign | (up ? high : low));
  }
};

constexpr Type kTypes[] = {{"float16", kStoredFloat16, 5, 10}, {"bfloat16", kStoredBfloat16, 8, 7}};

std::vector<float> numbers_for(const Type& type) {
  std::vector<float> numbers;
  const auto add = [&](double value) {
    const uint32_t bits = bits_of(static_cast<float>(value));
    for (uint32_t near : {bits, bits + 1, bits > 0 ? bits - 1 : 0}) {
      numbers.push_back(float_of(near));
      numbers.push_back(float_of(near | 0x80000000));
    }
  };
  for (int bits = 0; bits < type.infinity(); ++bits) {
    add(type.size_of(bits));
    add((type.size_of(bits) + type.size_of(bits + 1)) / 2);
  }
  for (uint32_t special : {0x7f800000u, 0x7f7fffffu, 1u, 0x7f800001u, 0x7fffffffu, 0x7fc00000u,
                           0x7f802000u, 0x7f810000u}) {
    numbers.push_back(float_of(special));
    numbers.push_back(float_of(special | 0x80000000));
  }
  std::mt19937 random(3);
  for (int i = 0; i < 100000; ++i) numbers.push_back(float_of(static_cast<uint32_t>(random())));
  return numbers;
}

// How many of the numbers are not as they should be.
int wrong_among(const Type& type, const std::vector<float>& numbers,
                const std::vector<uint16_t>& narrow) {
  int wrong = 0;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const bool right = std::isnan(numbers[i]) ? std::isnan(type.wide(narrow[i]))
                                              : narrow[i] == type.narrow(numbers[i]);
    if (!right && wrong++ < 5) {
      std::printf("    %s of %a: %04x, not %04x\n", type.name, static_cast<double>(numbers[i]),
                  narrow[i], type.narrow(numbers[i]));
    }
  }
  return wrong;
}

MoveRows rows_of(size_t n, StoredAs in_as, StoredAs out_as, CUdeviceptr in, CUdeviceptr out) {
  return {1,
          static_cast<int64_t>(n),
          static_cast<int64_t>(n),
          1,
          nullptr,
          in_as,
          out_as,
          reinterpret_cast<void*>(in),
          nullptr,
          reinterpret_cast<void*>(out)};
}

void narrows(const Type& type) {
  Session s;
  const std::vector<float> numbers = numbers_for(type);
  const CUdeviceptr in = s.upload(numbers), out = s.allocate(2 * numbers.size());
  OK(s.launch("bptt_move_rows_float32", 8, 128,
              rows_of(numbers.size(), kStoredAsT, type.stored, in, out)));
  const int wrong = wrong_among(type, numbers, s.download<uint16_t>(out, numbers.size()));
  CHECK_MSG(wrong == 0, "%s: %d of %zu are wrong", type.name, wrong, numbers.size());
}

void widens(const Type& type) {
  Session s;
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  const CUdeviceptr in = s.upload(all), out = s.allocate(4 * all.size());
  OK(s.launch("bptt_move_rows_float32", 8, 128,
              rows_of(all.size(), type.stored, kStoredAsT, in, out)));
  const std::vector<float> got = s.download<float>(out, all.size());
  int wrong = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const double want = type.wide(all[i]);
    const bool right = std::isnan(want) ? std::isnan(got[i])
                                        : bits_of(got[i]) == bits_of(static_cast<float>(want));
    wrong += !right;
  }
  CHECK_MSG(wrong == 0, "%s: %d are wrong", type.name, wrong);
}

// The comparison sees conversions that are nearly right, and passes the fake cuDNN's own.
void sees_bugs() {
  const auto convert = [](const Type& type, const std::function<uint16_t(float)>& conversion) {
    const std::vector<float> numbers = numbers_for(type);
    std::vector<uint16_t> narrow;
    for (float number : numbers) narrow.push_back(conversion(number));
    return wrong_among(type, numbers, narrow);
  };
  const auto truncated = [](float x) { return static_cast<uint16_t>(bits_of(x) >> 16); };
  const auto ties_up = [](float x) {
    return static_cast<uint16_t>(std::isnan(x) ? 0x7fc0 : (bits_of(x) + 0x8000) >> 16);
  };
  const auto flushed = [](float x) {
    return fake_cudnn::to_half(std::fabs(x) < std::ldexp(1.0, -14) ? std::copysign(0.0, x) : x);
  };
  std::printf("planted: \n");
  CHECK(convert(kTypes[1], truncated) > 1000);
  CHECK(convert(kTypes[1], ties_up) > 1000);
  CHECK(convert(kTypes[0], flushed) > 1000);
  CHECK(convert(kTypes[0], fake_cudnn::to_half) == 0);
  CHECK(convert(kTypes[1], fake_cudnn::to_bfloat16) == 0);
}

}  // namespace

int main() {
  for (const Type& type : kTypes) {
    narrows(type);
    widens(type);
  }
  sees_bugs();
  return bptt_test::finish();
}
