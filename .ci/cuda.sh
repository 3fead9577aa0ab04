#!/usr/bin/env bash
# The CUDA backend, as far as it can be proven without a GPU. A part that cannot run here
# says why, and is no failure.
#
#   .ci/cuda.sh         kernels for one architecture, tests over the fakes, the emulation and PTX
#   .ci/cuda.sh whole   every architecture; the tests under sanitizers too, and against
#                       NVIDIA's own libraries (a gigabyte, by native/cuda/fetch.mjs)
set -uo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "") whole=false architectures=80 fetched=() ;;
  whole) whole=true architectures=75,80,86,89,90,100,120 fetched=(--libraries) ;;
  *) echo "usage: .ci/cuda.sh [whole]" >&2 && exit 2 ;;
esac
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { # step NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  if "$@"; then
    echo "cuda: $name: ok, $((SECONDS - start))s"
  else
    echo "cuda: $name: FAILED, $((SECONDS - start))s"
    failed=1
    return 1
  fi
}

quietly() { # its output only where it fails
  "$@" >"$log" 2>&1 || { cat "$log" && return 1; }
}

build_and_test() { # build_and_test DIR CMAKE_ARGUMENTS...
  local dir=$1
  shift
  quietly cmake -S . -B "$dir" -DBPTT_CUDA_TESTS=ON "-DBPTT_WITHOUT=AVX2;AVX512" -DBPTT_CUDA_ARCHITECTURES="${architectures//,/;}" "$@" || return 1
  grep '^-- CUDA:' "$log" | sed 's/^-- //'
  quietly cmake --build "$dir" -j "$(nproc)" &&
    ctest --test-dir "$dir" --no-tests=error -j "$(nproc)" --output-on-failure
}

# A slow registry is no reason to fail, or to wait for ever.
if ! timeout 600 node native/cuda/fetch.mjs ${fetched[@]+"${fetched[@]}"}; then
  echo "cuda: goes on with what this machine has"
fi

# Without NVIDIA's headers there is nothing to compile against.
quietly cmake -S . -B build/cuda/check -DBPTT_CUDA=ON -DBPTT_CUDA_TESTS=ON
if grep '^-- CUDA: neither' "$log"; then
  echo "cuda: skipped: all of it"
  exit 0
fi

step "build and tests" build_and_test build/cuda/check -DBPTT_CUDA=ON -DCMAKE_CXX_FLAGS=-Werror \
  -DBPTT_CUDA_NVCC_FLAGS=--Werror=all-warnings
if [ -f build/Release/bptt.node ]; then
  step "TypeScript over the fakes, and without a driver" quietly npx --no-install vitest run \
    test/cuda.test.ts test/cuda_refusal.test.ts test/bench/cuda.test.ts test/hardware.test.ts
else
  echo "cuda: skipped: TypeScript over the fakes: the addon is not built, npm test does"
fi
nvcc=$(sed -n 's/^BPTT_NVCC:FILEPATH=//p' build/cuda/check/CMakeCache.txt)
if [ -x "$nvcc" ]; then
  step "registers, spills and shared memory" node native/cuda/resources.mjs --nvcc "$nvcc" \
    --architectures "$architectures"
else
  echo "cuda: skipped: registers, spills and shared memory: no nvcc"
fi
if $whole; then
  if [ -f build/cuda/lib/libcudnn.so.9 ]; then
    step "10,000 configurations of cuDNN" env BPTT_CUDA_LIBRARIES=build/cuda/lib \
      BPTT_CUDA_PATH=build/cuda/check/fakes build/cuda/check/test/cuda/cuda_cudnn_contract_test 10000
  else
    echo "cuda: skipped: 10,000 configurations of cuDNN: it could not be fetched"
  fi
  step "tests under AddressSanitizer and UndefinedBehaviorSanitizer" build_and_test build/cuda/check-sanitized \
    -DBPTT_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Sanitized "-DCMAKE_CXX_FLAGS=-O1 -Werror"
fi
exit $failed
