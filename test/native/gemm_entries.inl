// The matrix product of one instruction set, callable from outside it.
template <class V>
void run_case(const Case<typename V::Scalar>& p) {
  pack_panels<V>(p.k, Columns{p.n}, 0, p.b, p.b_row, p.b_col, p.panel_begin, p.panel_end, p.packed);
  gemm<V>({.m = p.m,
           .k = p.k,
           .a = p.a,
           .a_row = p.a_row,
           .a_k = p.a_k,
           .packed = p.packed,
           .init = static_cast<Init>(p.init),
           .bias = p.bias,
           .c = p.c,
           .c_row = p.c_row},
          Columns{p.n}, p.panel_begin, p.panel_end);
}

const Entries entries = {
    {panel_width<F32>, &packed_elements<F32>, &run_case<F32>},
    {panel_width<F64>, &packed_elements<F64>, &run_case<F64>},
};
