// The export list. Each name is a function of lib/binding.ts, defined in the file of its family;
// those of the ops are those of the backend's table, written as JavaScript does.
#include <string>

#include "addon/call.h"
#include "addon/ops.h"
#include "addon/pin.h"

// clang-format off
#define BPTT_FUNCTIONS(F) \
  /* tensor.cc */ \
  F(setErrorClass) F(info) F(stats) F(cuda) F(setNumThreads) F(getNumThreads) \
  F(measureMultiplyAdds) F(measureReads) \
  F(emptyCache) F(allocate) F(release) F(upload) F(read) F(readSync) F(synchronize) \
  /* ops.cc */ \
  F(copyAll) \
  /* recurrent.cc */ \
  F(packedBytes) F(recurrentForward) F(recurrentBackward) \
  /* stepper.cc */ \
  F(createStepper) F(updateSteppers) F(stepperBytes) F(step) F(getStepperState) F(setStepperState) F(resetStepper) F(releaseStepper)
// clang-format on

namespace bptt::addon {

#define BPTT_DECLARE(name) napi_value name(Call& call);
BPTT_FUNCTIONS(BPTT_DECLARE)

namespace {

void export_function(napi_env env, napi_value exports, const std::string& name,
                     napi_callback function) {
  napi_value value;
  check(napi_create_function(env, name.c_str(), name.size(), function, nullptr, &value));
  check(napi_set_named_property(env, exports, name.c_str(), value));
}

}  // namespace
}  // namespace bptt::addon

NAPI_MODULE_INIT() {
  using namespace bptt::addon;
  return guarded(env, [&] {
    pin_library();
    Environment::create(env);
#define BPTT_EXPORT(name) export_function(env, exports, #name, exported<name>);
    BPTT_FUNCTIONS(BPTT_EXPORT)
    for (const Op& op : op_functions()) export_function(env, exports, op.name, op.function);
    return exports;
  });
}
