// The interpreter of PTX: what instructions compute, how threads meet, and that what a kernel
// may not do is caught. Kernels are written by hand; nvcc's own run in the other tests.
#include "ptx/ptx.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "driver/fake.h"
#include "driver/fake_test.h"

using namespace bptt_fake_test;

namespace {

struct Arguments {
  const void* in;
  void* out;
};

// A table of constants, and a kernel of that body, with the addresses of the thread's 8 bytes in
// %rd1 (of `in`) and %rd2 (of `out`), and its number in %r1.
std::string program(const std::string& body) {
  return R"(
    .version 9.0
    .target sm_75
    .address_size 64  .global .align 4 .b8 table[8] = {7, 1, 0, 0, 9};
    .visible .entry test(.param .align 8 .b8 arguments[16])
    {
      .reg .pred %p<4>;  .reg .b16 %rs<8>;  .reg .b32 %r<16>;  .reg .b64 %rd<16>;
      .reg .f32 %f<8>;   .reg .f64 %fd<8>;
      ld.param.u64 %rd1, [arguments];
      ld.param.u64 %rd2, [arguments+8];
      mov.u32 %r1, %tid.x;
      mul.wide.u32 %rd3, %r1, 8;
      add.s64 %rd1, %rd1, %rd3;
      add.s64 %rd2, %rd2, %rd3;
)" + body +
         "\n ret;\n }\n";
}

const bptt_ptx::Kernel* running = nullptr;

void start(Session& s, const bptt_ptx::Module& module, CUdeviceptr in, CUdeviceptr out,
           unsigned blocks, unsigned threads) {
  running = module.find("test");
  fake_cuda_add_kernel("test", sizeof(Arguments),
                       [](const void* a) { bptt_ptx::run_thread(*running, a); });
  OK(s.launch("test", blocks, threads,
              Arguments{reinterpret_cast<void*>(in), reinterpret_cast<void*>(out)}));
}

// What the threads of a block leave in `out`.
std::vector<uint64_t> run(const std::string& body, const std::vector<uint64_t>& in,
                          unsigned threads, uint64_t seed = 1) {
  const bptt_ptx::Module module(program(body), "test.ptx");
  Session s;
  fake_cuda_seed(seed);
  const CUdeviceptr a = s.upload(in), b = s.allocate(threads * sizeof(uint64_t));
  start(s, module, a, b, 1, threads);
  return s.download<uint64_t>(b, threads);
}

Outcome run_in_child(const std::string& body) {
  return in_child([&] { run(body, std::vector<uint64_t>(64), 64); });
}

// -- arithmetic -------------------------------------------------------------------------

template <class T>
struct Register;
template <>
struct Register<float> {
  static constexpr const char *name = "%f", *type = "f32";
};
template <>
struct Register<double> {
  static constexpr const char *name = "%fd", *type = "f64";
};
template <>
struct Register<int16_t> {
  static constexpr const char *name = "%rs", *type = "u16";
};
template <>
struct Register<int32_t> {
  static constexpr const char *name = "%r", *type = "u32";
};
template <>
struct Register<int64_t> {
  static constexpr const char *name = "%rd", *type = "u64";
};

template <class T>
uint64_t bits_of(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T value_of(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// Register 7 of R's kind = instruction(operands).
template <class R, class... Ts>
R compute(const std::string& instruction, Ts... operands) {
  std::string body, list;
  int i = 0;
  const auto add = [&]<class T>(T) {
    const std::string name = Register<T>::name + std::to_string(4 + i);
    body += std::string(" ld.global.") + Register<T>::type + " " + name + ", [%rd1+" +
            std::to_string(8 * i++) + "];\n";
    list += ", " + name;
  };
  (add(operands), ...);
  const std::string result = std::string(Register<R>::name) + "7";
  body += " " + instruction + " " + result + list + ";\n";
  body += std::string(" st.global.") + Register<R>::type + " [%rd2], " + result + ";";
  return value_of<R>(run(body, {bits_of(operands)...}, 1)[0]);
}

template <class T>
bool compare(const std::string& comparison, T a, T b) {
  const std::string name = Register<T>::name, type = Register<T>::type;
  const std::string body = " ld.global." + type + " " + name + "4, [%rd1];\n ld.global." + type +
                           " " + name + "5, [%rd1+8];\n setp." + comparison + " %p1, " + name +
                           "4, " + name + "5;\n selp.u64 %rd7, 1, 0, %p1;\n" +
                           " st.global.u64 [%rd2], %rd7;";
  return run(body, {bits_of(a), bits_of(b)}, 1)[0] == 1;
}

const float kNan = std::numeric_limits<float>::quiet_NaN();
const float kInf = std::numeric_limits<float>::infinity();

void integers() {
  using Short = int16_t;
  using Long = int64_t;
  constexpr int kLeast = std::numeric_limits<int>::min();
  CHECK(compute<int>("add.s32", kLeast, -1) == std::numeric_limits<int>::max());
  CHECK(compute<Short>("mul.lo.s16", Short{-300}, Short{300}) == static_cast<Short>(-90000));
  CHECK(compute<int>("mad.lo.s32", 7, -3, 5) == -16);
  CHECK(compute<int>("div.s32", -7, 2) == -3 && compute<int>("rem.s32", -7, 2) == -1);
  CHECK(compute<int>("div.s32", kLeast, -1) == kLeast);
  CHECK(compute<int>("div.u32", -7, 2) == 0x7ffffffc);
  CHECK(compute<Long>("rem.s64", Long{-9}, Long{5}) == -4);
  CHECK(compute<Long>("mul.wide.s32", -3, 5) == -15);
  CHECK(compute<Long>("mul.wide.u32", -1, 2) == 0x1fffffffe);
  CHECK(compute<int>("mul.hi.s32", -1, 5) == -1 && compute<int>("mul.hi.u32", -1, 5) == 4);
  CHECK(compute<Long>("mul.hi.u64", Long{-1}, Long{3}) == 2);
  CHECK(compute<int>("shl.b32", 3, 30) == (kLeast | 1 << 30) &&
        compute<int>("shl.b32", 3, 40) == 0);
  CHECK(compute<int>("shr.s32", -8, 1) == -4 && compute<int>("shr.s32", -8, 40) == -1);
  CHECK(compute<int>("shr.u32", -8, 28) == 15 && compute<int>("shr.u32", -8, 40) == 0);
  CHECK(compute<int>("max.s32", -1, 1) == 1 && compute<int>("max.u32", -1, 1) == -1);
  CHECK(compute<int>("not.b32", 5) == ~5 && compute<Long>("neg.s64", Long{5}) == -5);
  CHECK(compute<int>("xor.b32", 6, 3) == 5 && compute<Long>("and.b64", Long{6}, Long{3}) == 2);
  CHECK(compute<int>("clz.b64", Long{1} << 40) == 23 && compute<int>("clz.b64", Long{0}) == 64);
  CHECK(compute<Long>("bfi.b64", Long{0xff}, Long{0x1234567}, 8, 4) == 0x1234f67);
  CHECK(compare<int>("lt.s32", -1, 1) && !compare<int>("lt.u32", -1, 1));
  CHECK(compare<Long>("ge.s64", 4, 4) && !compare<Long>("gt.s64", 4, 4));
}

// Numbers of 64 bits in halves, as the manual's section "Extended-Precision Integer Arithmetic" has
// them.
uint64_t in_halves(const std::string& instructions, uint64_t a, uint64_t b) {
  return run(" ld.global.v2.u32 {%r2, %r3}, [%rd1];\n ld.global.v2.u32 {%r4, %r5}, [%rd1+8];\n" +
                 instructions + " st.global.v2.u32 [%rd2], {%r6, %r7};",
             {a, b}, 1)[0];
}

void carries() {
  const uint64_t a = 0x1fffffffe, b = 0x300000005;
  CHECK(in_halves("add.cc.u32 %r6, %r2, %r4; addc.u32 %r7, %r3, %r5;", a, b) == a + b);
  CHECK(in_halves("add.cc.u32 %r6, %r2, %r4; addc.cc.u32 %r7, %r3, %r5; addc.u32 %r6, %r6, 0;", ~a,
                  b) == (b - a - 1) + 1);
  CHECK(in_halves("sub.cc.u32 %r6, %r2, %r4; subc.u32 %r7, %r3, %r5;", b, a) == b - a);
  CHECK(in_halves("sub.cc.u32 %r6, %r2, %r4; subc.cc.u32 %r7, %r3, %r5; subc.u32 %r7, %r7, 0;", a,
                  b) == a - b - (uint64_t{1} << 32));
  const std::string square = "mul.lo.u32 %r6, %r2, %r2; mul.hi.u32 %r7, %r2, %r2;";
  CHECK(in_halves(square + "mad.lo.cc.u32 %r6, %r4, %r4, %r6; madc.hi.u32 %r7, %r4, %r4, %r7;",
                  0xfffffff1, 0xffff) == 0xfffffff1ull * 0xfffffff1 + 0xffffull * 0xffff);
  CHECK(in_halves("mad.lo.cc.u32 %r6, %r2, 1, %r4; madc.lo.cc.u32 %r7, %r3, 5, 0;", a, b) ==
        (uint64_t{6} << 32 | 3));
  CHECK(in_halves("add.cc.u32 %r6, -1, 1; madc.hi.cc.u32 %r6, -1, -1, 1; addc.u32 %r7, 0, 0;", a,
                  b) == uint64_t{1} << 32);
}

void floats() {
  const float next = std::nextafter(1.0f, 2.0f), little = 0x1.8p-24f;
  CHECK(compute<float>("add.rn.f32", 1.0f, little) == next);
  CHECK(compute<float>("add.rz.f32", 1.0f, little) == 1.0f);
  CHECK(compute<float>("fma.rn.f32", next, next, -1.0f) == std::fma(next, next, -1.0f));
  CHECK(compute<float>("fma.rm.f32", 1.0f, 1.0f, little) == 1.0f);
  CHECK(compute<float>("fma.rp.f32", 1.0f, 1.0f, 1e-20f) == next);
  CHECK(compute<double>("fma.rm.f64", -1.0, 1.0, -1e-30) == std::nextafter(-1.0, -2.0));
  CHECK(compute<float>("div.rn.f32", 1.0f, 3.0f) == 1.0f / 3.0f);
  CHECK(compute<double>("sqrt.rn.f64", 2.0) == std::sqrt(2.0));
  CHECK(compute<float>("min.f32", kNan, 2.0f) == 2.0f &&
        compute<float>("max.f32", 2.0f, kNan) == 2);
  CHECK(std::signbit(compute<float>("min.f32", 0.0f, -0.0f)));
  CHECK(compute<float>("copysign.f32", -1.0f, 3.0f) == -3.0f);  // the sign of the first
  CHECK(compute<float>("ex2.approx.ftz.f32", 3.0f) == 8.0f);
  CHECK(compute<float>("ex2.approx.ftz.f32", -130.0f) == 0.0f);
  const double gross = compute<double>("rcp.approx.ftz.f64", 3.0);
  CHECK((bits_of(gross) & 0xffffffff) == 0 && std::fabs(gross * 3 - 1) < 1e-6);
  CHECK(compare<float>("neu.f32", kNan, 1.0f) && !compare<float>("ne.f32", kNan, 1.0f));
  CHECK(compare<float>("ltu.f32", kNan, 1.0f) && !compare<float>("lt.f32", kNan, 1.0f));
  CHECK(compare<float>("geu.f32", 1.0f, kNan) && !compare<float>("gtu.f32", 1.0f, 1.0f));
  CHECK(compare<double>("leu.f64", 1.0, 1.0) && !compare<double>("leu.f64", 2.0, 1.0));
}

void conversions() {
  CHECK(compute<float>("cvt.sat.f32.f32", 1.5f) == 1 &&
        compute<float>("cvt.sat.f32.f32", kNan) == 0);
  CHECK(compute<float>("cvt.rni.f32.f32", 2.5f) == 2 &&
        compute<float>("cvt.rmi.f32.f32", -1.5f) == -2);
  CHECK(compute<int>("cvt.rzi.s32.f64", -2.7) == -2);
  CHECK(compute<int>("cvt.rzi.s32.f32", kInf) == std::numeric_limits<int>::max());
  CHECK(compute<int>("cvt.rzi.s32.f32", kNan) == 0 && compute<int>("cvt.rzi.u32.f32", -3.0f) == 0);
  CHECK(compute<float>("cvt.rn.f32.f64", 1 + 0x1p-24 + 0x1p-50) == std::nextafter(1.0f, 2.0f));
  CHECK(compute<float>("cvt.rn.f32.s32", 16777217) == 16777216.0f);
  CHECK(compute<double>("cvt.rn.f64.u64", int64_t{-1}) == 0x1p64);
  CHECK(compute<int64_t>("cvt.s64.s32", -5) == -5 &&
        compute<int64_t>("cvt.u64.u32", -5) == 0xfffffffb);
  CHECK(compute<int>("cvt.s32.s16", int16_t{-5}) == -5 &&
        compute<int>("cvt.u32.u16", int16_t{-5}) == 65531);
  CHECK(compute<int16_t>("cvt.u16.u32", 65537) == 1);
  CHECK(compute<int>("abs.s32", -7) == 7 && compute<int>("abs.s32", INT32_MIN) == INT32_MIN);
}

void pairs() {
  const std::string body = R"(
    ld.global.v2.u32 {%r4, %r5}, [%rd1];
    mov.b64 %rd4, {%r5, %r4};
    { .reg .b32 %temp; mov.b64 {%temp, %r6}, %rd4; }
    add.s32 %r6, %r6, 1;
    st.global.v2.u32 [%rd2], {%r5, %r6};)";
  CHECK(run(body, {0x0000000300000007}, 1)[0] == 0x0000000800000003);
}

// A register that is wider than what is loaded: the sign fills it, or zeros do.
void wide_registers() {
  const auto load = [](const std::string& type) {
    return run(" ld.global." + type + " %rd4, [%rd1];\n st.global.u64 [%rd2], %rd4;",
               {0x00000000fffffffe}, 1)[0];
  };
  CHECK(load("s32") == ~uint64_t{1} && load("u32") == 0xfffffffe);
  CHECK(load("s16") == ~uint64_t{1} && load("u16") == 0xfffe);
}

void constants() {
  CHECK(run(R"(
    mov.u64 %rd4, table;
    ld.global.nc.u32 %r4, [%rd4];
    ld.global.u8 %r5, [%rd4+4];
    st.global.v2.u32 [%rd2], {%r4, %r5};)",
            {0}, 1)[0] == (uint64_t{9} << 32 | 263));
}

// Each thread has its own; what nobody has written is all ones.
void local_memory() {
  const std::string body = R"(
    .local .align 4 .b8 depot[12];
    mov.u64 %rd4, depot;
    cvta.local.u64 %rd5, %rd4;
    add.u64 %rd6, %rd5, 4;
    cvta.to.local.u64 %rd7, %rd6;
    st.local.u32 [%rd7], %r1;
    bar.sync 0;
    ld.local.u32 %r4, [%rd4+4];
    ld.local.u32 %r5, [depot+8];
    st.global.v2.u32 [%rd2], {%r4, %r5};)";
  const std::vector<uint64_t> out = run(body, {0}, 3);
  for (uint64_t i = 0; i < 3; ++i) CHECK(out[i] == (uint64_t{0xffffffff} << 32 | i));
}

// Two functions, of which one calls the other; the registers of each are its own.
void calls() {
  const std::string body = R"(
    mov.u32 %r4, 40;
    {
    .param .b64 param0; st.param.b64 [param0+0], %rd3;
    .param .b32 param1; st.param.b32 [param1+0], %r4;
    .param .align 8 .b8 retval0[16];
    call.uni (retval0), outer, (param0, param1);
    ld.param.u64 %rd5, [retval0+0];
    ld.param.b32 %r5, [retval0+8];
    }
    cvt.u64.u32 %rd6, %r5;
    add.s64 %rd5, %rd5, %rd6;
    cvt.u64.u32 %rd6, %r4;
    add.s64 %rd5, %rd5, %rd6;
    st.global.u64 [%rd2], %rd5;
    ret;
    }
    .func (.param .b32 twice) inner(.param .b32 inner_0)
    {
      .reg .b32 %r<5>;
      ld.param.u32 %r4, [inner_0];
      shl.b32 %r4, %r4, 1;
      st.param.b32 [twice+0], %r4;
      ret;
    }
    .func (.param .align 8 .b8 result[16]) outer(.param .b64 outer_0, .param .b32 outer_1)
    {
      .reg .b32 %r<6>;  .reg .b64 %rd<2>;
      ld.param.u64 %rd1, [outer_0];
      ld.param.u32 %r4, [outer_1];
      { .param .b32 param0; st.param.b32 [param0+0], %r4; .param .b32 retval0;
        call.uni (retval0), inner, (param0); ld.param.b32 %r5, [retval0+0]; }
      st.param.b64 [result+0], %rd1;
      st.param.b32 [result+8], %r5;)";
  const std::vector<uint64_t> out = run(body, {0}, 3);
  for (uint64_t i = 0; i < 3; ++i) CHECK(out[i] == 8 * i + 80 + 40);
}

// -- control and threads ------------------------------------------------------------------

void loops_and_guards() {
  const std::string body = R"(
    mov.u64 %rd4, 0;
    mov.u32 %r4, %r1;
  $AGAIN:
    setp.eq.s32 %p1, %r4, 0;
    @%p1 bra $DONE;
    cvt.u64.u32 %rd5, %r4;
    add.s64 %rd4, %rd4, %rd5;
    add.s32 %r4, %r4, -1;
    bra.uni $AGAIN;
  $DONE:
    setp.lt.u32 %p2, %r1, 2;
    @!%p2 add.s64 %rd4, %rd4, 1000;
    st.global.u64 [%rd2], %rd4;)";
  const std::vector<uint64_t> out = run(body, {0}, 5);
  CHECK(out == (std::vector<uint64_t>{0, 1, 1003, 1006, 1010}));
}

std::string shuffle(const std::string& operands) {
  return " shfl.sync." + operands + ", -1;\n selp.u32 %r8, 100, 0, %p1;\n" +
         " add.s32 %r7, %r7, %r8;\n cvt.u64.u32 %rd4, %r7;\n st.global.u64 [%rd2], %rd4;";
}

// Each thread gives its number; 100 is added where the source is inside. The clamps are those
// that nvcc makes of a width of 8: the manual's "c".
void shuffles_follow_their_definition() {
  const auto up = run(shuffle("up.b32 %r7|%p1, %r1, 3, 0x1800"), {0}, 64);
  const auto down = run(shuffle("down.b32 %r7|%p1, %r1, 3, 0x181f"), {0}, 64);
  const auto across = run(shuffle("bfly.b32 %r7|%p1, %r1, 5, 0x1f"), {0}, 64);
  const auto from = run(shuffle("idx.b32 %r7|%p1, %r1, 2, 0x181f"), {0}, 64);
  int wrong = 0;
  for (uint64_t i = 0; i < 64; ++i) {
    wrong += up[i] != (i % 8 >= 3 ? i - 3 + 100 : i);
    wrong += down[i] != (i % 8 + 3 < 8 ? i + 3 + 100 : i);
    wrong += across[i] != (i ^ 5) + 100;
    wrong += from[i] != i / 8 * 8 + 2 + 100;
  }
  CHECK_MSG(wrong == 0, "%d wrong", wrong);
}

// A block of 64 turns its numbers around through shared memory.
std::string turn(const std::string& barrier) {
  return R"(
    .shared .align 4 .b8 part[256];
    mov.u32 %r4, part;
    shl.b32 %r5, %r1, 2;
    add.s32 %r6, %r4, %r5;
    st.shared.u32 [%r6], %r1;)" +
         barrier + R"(
    sub.s32 %r7, 252, %r5;
    add.s32 %r8, %r4, %r7;
    ld.shared.u32 %r9, [%r8];
    cvt.u64.u32 %rd4, %r9;
    st.global.u64 [%rd2], %rd4;)";
}

void a_missing_barrier_shows() {
  constexpr int kSeeds = 20;
  int wrong = 0, wrong_without = 0;
  std::vector<uint64_t> turned(64);
  for (uint64_t i = 0; i < 64; ++i) turned[i] = 63 - i;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    wrong += run(turn("bar.sync 0;"), {0}, 64, seed) != turned;
    wrong_without += run(turn(""), {0}, 64, seed) != turned;
  }
  CHECK_MSG(wrong == 0, "wrong under %d seeds", wrong);
  CHECK_MSG(wrong_without >= kSeeds - 1, "wrong under %d of %d seeds", wrong_without, kSeeds);
}

// -- what must be caught ----------------------------------------------------------------------

void misuse_ends_the_process() {
  CHECK_CAUGHT(run_in_child("ld.global.u64 %rd4, [%rd1+8];"), "ld.global.u64 %rd4, [%rd1+8];");
  CHECK_CAUGHT(run_in_child("ld.global.u64 %rd4, [%rd1+8];"), "0 bytes past buffer");
  CHECK_CAUGHT(run_in_child("st.global.u32 [%rd2+-4], %r1;"), "4 bytes before buffer");
  CHECK_CAUGHT(run_in_child("ld.global.u32 %r4, [%rd1+2];"), "is not aligned to 4 bytes");
  CHECK_CAUGHT(run_in_child(".shared .b32 one; st.shared.u32 [one+4], %r1;"),
               "are in no array of shared memory");
  CHECK_CAUGHT(run_in_child("ld.param.u64 %rd4, [arguments+16];"), "of 16 bytes of arguments");
  CHECK_CAUGHT(run_in_child(".local .b32 one; ld.local.u32 %r4, [one+4];"),
               "are in no variable of the thread's own memory");
  CHECK_CAUGHT(run_in_child("mov.u64 %rd4, table; st.global.u32 [%rd4], %r1;"), "4 bytes at 0x");
  CHECK_CAUGHT(run_in_child("mov.u64 %rd4, table; ld.global.u32 %r4, [%rd4+8];"), "4 bytes at 0x");
  CHECK_CAUGHT(run_in_child("mov.u32 %r4, 0; div.u32 %r5, %r1, %r4;"), "a division by zero");
  CHECK_CAUGHT(run_in_child("setp.lt.u32 %p1, %r1, 9; @%p1 bar.warp.sync -1;"),
               "is not reached by every lane");
  CHECK_CAUGHT(run_in_child("$SELF: bra $SELF;"), "the thread does not end");
}

std::string refusal(const std::string& body) {
  try {
    const bptt_ptx::Module module(program(body), "test.ptx");
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "accepted";
}

void what_is_not_known_is_refused() {
  const auto refuses = [](const std::string& body, const std::string& words) {
    const std::string said = refusal(body);
    CHECK_MSG(said.find(words) != std::string::npos, "%s: %s", body.c_str(), said.c_str());
  };
  refuses("tanh.approx.f32 %f1, %f2;", "line 15: the instruction \"tanh.approx.f32\" is not known");
  refuses("bra $NOWHERE;", "there is no label $NOWHERE");
  refuses("add.s32 %r1, %r99, 1;", "\"%r99\" is no number");
  refuses("@%p9 ret;", "there is no register %p9");
  refuses(".const .b32 x;", "the directive \".const\" is not known");
  refuses(".param .b32 x; call.uni (x), nothing, (x);", "there is no function nothing");
  refuses("call.uni (y), nothing, (y);", "there is no variable y");
  CHECK(refusal("add.s32 %r1, %r2, 1;") == "accepted");
}

}  // namespace

int main() {
  integers();
  carries();
  floats();
  conversions();
  pairs();
  wide_registers();
  constants();
  local_memory();
  calls();
  loops_and_guards();
  shuffles_follow_their_definition();
  a_missing_barrier_shows();
  misuse_ends_the_process();
  what_is_not_known_is_refused();
  return bptt_test::finish();
}
