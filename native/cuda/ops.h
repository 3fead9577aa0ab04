// The entries of bptt_ops but those of recurrent layers; backend.h says what each does.
// They start work and return: an index out of range is found by wait(), and a failed
// launch by the entry.
#pragma once

#include <cstdint>

#include "backend.h"
#include "cuda/device.h"

namespace bptt::cuda {

// -- ops_elementwise.cc ----------------------------------------------------------

bptt_code fill(bptt_context*, bptt_dtype, int64_t n, double value, void* out);
bptt_code unary(bptt_context*, bptt_dtype, bptt_unary_op, double alpha, int64_t n, const void* x,
                void* out);
bptt_code unary_backward(bptt_context*, bptt_dtype, bptt_unary_op, int64_t n, const void* saved,
                         const void* dout, void* dx);
bptt_code binary(bptt_context*, bptt_dtype, bptt_binary_op, int rank, const int64_t* shape,
                 const void* a, const int64_t* a_strides, const void* b, const int64_t* b_strides,
                 void* out);
bptt_code copy(bptt_context*, bptt_dtype, int rank, const int64_t* shape, const void* src,
               const int64_t* src_strides, void* dst, const int64_t* dst_strides);

// -- ops_random.cc ---------------------------------------------------------------

bptt_code dropout(bptt_context*, bptt_dtype, int64_t n, double p, bptt_rng, const void* x,
                  void* out);
bptt_code uniform(bptt_context*, bptt_dtype, int64_t n, double low, double high, bptt_rng,
                  void* out);
bptt_code normal(bptt_context*, bptt_dtype, int64_t n, double mean, double std, bptt_rng,
                 void* out);

// -- ops_reduce.cc ---------------------------------------------------------------

bptt_code sum(bptt_context*, bptt_dtype, int rank, const int64_t* shape, const int* reduced,
              double scale, const void* x, void* out);

// -- ops_normalize.cc --------------------------------------------------------------

bptt_code softmax(bptt_context*, bptt_dtype, int log, int64_t outer, int64_t classes, int64_t inner,
                  const void* x, void* out);
bptt_code softmax_backward(bptt_context*, bptt_dtype, int log, int64_t outer, int64_t classes,
                           int64_t inner, const void* out, const void* dout, void* dx);
bptt_code layer_norm(bptt_context*, bptt_dtype, int64_t rows, int64_t cols, double eps,
                     const void* x, const void* gamma, const void* beta, void* y, void* mean,
                     void* rstd);
bptt_code layer_norm_backward(bptt_context*, bptt_dtype, int64_t rows, int64_t cols, const void* x,
                              const void* gamma, const void* mean, const void* rstd, const void* dy,
                              void* dx, void* dgamma, void* dbeta);

// -- matmul.cc -------------------------------------------------------------------

bptt_code matmul(bptt_context*, bptt_dtype, const bptt_matmul*, const void* left, const void* right,
                 const void* bias, void* out);

// -- ops_embedding.cc ------------------------------------------------------------

bptt_code embedding(bptt_context*, bptt_dtype, int64_t n, int64_t rows, int64_t cols,
                    const void* table, const int32_t* index, void* out);
bptt_code embedding_backward(bptt_context*, bptt_dtype, int64_t n, int64_t rows, int64_t cols,
                             int64_t padding, const int32_t* index, const void* dout, void* dtable);

// -- ops_loss.cc -----------------------------------------------------------------

bptt_code cross_entropy(bptt_context*, bptt_dtype, bptt_reduction, int64_t outer, int64_t classes,
                        int64_t inner, int32_t ignore, const void* logits, const int32_t* target,
                        void* loss, void* log_sum);
bptt_code cross_entropy_backward(bptt_context*, bptt_dtype, bptt_reduction, int64_t outer,
                                 int64_t classes, int64_t inner, int32_t ignore, const void* logits,
                                 const int32_t* target, const void* log_sum, const void* dloss,
                                 void* dlogits);
bptt_code pairwise_loss(bptt_context*, bptt_dtype, bptt_pairwise_loss, bptt_reduction, int64_t n,
                        const void* x, const void* target, void* loss);
bptt_code pairwise_loss_backward(bptt_context*, bptt_dtype, bptt_pairwise_loss, bptt_reduction,
                                 int64_t n, const void* x, const void* target, const void* dloss,
                                 void* dx, void* dtarget);

// -- ops_optimizer.cc ------------------------------------------------------------

bptt_code optimize(bptt_context*, bptt_dtype, const bptt_optimizer*, int64_t count,
                   const bptt_parameter*);
bptt_code grad_norm(bptt_context*, bptt_dtype, int64_t count, const void* const* grads,
                    const int64_t* sizes, void* norm);
bptt_code clip_grads(bptt_context*, bptt_dtype, int64_t count, void* const* grads,
                     const int64_t* sizes, double max_norm, const void* norm);

}  // namespace bptt::cuda
