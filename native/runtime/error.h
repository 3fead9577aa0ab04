// What can go wrong at run time, as a value and as an exception.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "backend.h"

namespace bptt {

struct Failure {
  bptt_code code;
  std::string message;
};

// Null: nothing went wrong. Shared, because one failure poisons many tensors.
using FailurePtr = std::shared_ptr<const Failure>;

class Error : public std::runtime_error {
 public:
  Error(bptt_code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  explicit Error(const Failure& failure) : Error(failure.code, failure.message) {}

  bptt_code code() const { return code_; }

 private:
  bptt_code code_;
};

}  // namespace bptt
