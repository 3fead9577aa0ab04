// The compiled kernels, which the driver loads from memory. BPTT_CUDA_FATBIN is the path of
// what nvcc made of kernels/*.cu.

asm(R"(
  .pushsection .rodata
  .globl bptt_cuda_kernels
  .hidden bptt_cuda_kernels
  .type bptt_cuda_kernels, %object
  .balign 64
bptt_cuda_kernels:
  .incbin ")" BPTT_CUDA_FATBIN R"("
  .size bptt_cuda_kernels, . - bptt_cuda_kernels
  .popsection
)");
