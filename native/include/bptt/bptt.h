// The C++ API of bptt: streams, storages and the CPU backend, without Node.
//
//   bptt::Stream stream(bptt::cpu_backend());
//   bptt::Storage x = stream.allocate(n * sizeof(float));
//   stream.upload(x, values, n * sizeof(float));
//   stream.enqueue("tanh", inputs, outputs, [=](bptt_context* context) {
//     return ops.unary(context, BPTT_FLOAT32, BPTT_TANH, 0, n, x_data, y_data);
//   });
//   stream.read_sync(y, values, n * sizeof(float));
#pragma once

#include "backend.h"
#include "bptt/cpu.h"
#include "bptt/error.h"
#include "bptt/storage.h"
#include "bptt/stream.h"

#define BPTT_VERSION "0.1.0"
