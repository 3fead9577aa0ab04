// The export list. Each name is a function of lib/binding.ts, defined in the
// file of its family.
#include "addon/call.h"
#include "addon/pin.h"

// clang-format off
#define BPTT_FUNCTIONS(F) \
  /* tensor.cc */ \
  F(setErrorClass) F(info) F(stats) F(cuda) F(setNumThreads) F(getNumThreads) \
  F(measureMultiplyAdds) F(measureReads) \
  F(emptyCache) F(allocate) F(release) F(upload) F(read) F(readSync) F(synchronize) \
  /* ops.cc */ \
  F(fill) F(unary) F(unaryBackward) F(binary) F(copy) F(copyAll) F(dropout) F(uniform) F(normal) \
  F(sum) F(softmax) F(softmaxBackward) F(layerNorm) F(layerNormBackward) F(matmul) \
  F(embedding) F(embeddingBackward) F(crossEntropy) F(crossEntropyBackward) \
  F(pairwiseLoss) F(pairwiseLossBackward) F(optimize) F(gradNorm) F(clipGrads) \
  /* recurrent.cc */ \
  F(packedBytes) F(recurrentForward) F(recurrentBackward) \
  /* stepper.cc */ \
  F(createStepper) F(step) F(getStepperState) F(setStepperState) F(resetStepper) F(releaseStepper)
// clang-format on

namespace bptt::addon {

#define BPTT_DECLARE(name) napi_value name(Call& call);
BPTT_FUNCTIONS(BPTT_DECLARE)

}  // namespace bptt::addon

NAPI_MODULE_INIT() {
  using namespace bptt::addon;
  return guarded(env, [&] {
    pin_library();
    Environment::create(env);
#define BPTT_EXPORT(name)                                                                          \
  napi_value name##_value;                                                                         \
  check(                                                                                           \
      napi_create_function(env, #name, NAPI_AUTO_LENGTH, exported<name>, nullptr, &name##_value)); \
  check(napi_set_named_property(env, exports, #name, name##_value));
    BPTT_FUNCTIONS(BPTT_EXPORT)
    return exports;
  });
}
