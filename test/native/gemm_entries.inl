// The matrix product of one instruction set, callable from outside it.
template <class V>
void product(const Product<typename V::Scalar>& p) {
  pack_panels<V>(p.k, Columns{p.n}, 0, p.b, p.b_row, p.b_col, p.panel_begin, p.panel_end, p.packed);
  gemm<V>(p.m, Columns{p.n}, p.k, p.a, p.a_row, p.a_k, p.packed, p.panel_begin, p.panel_end,
          static_cast<Init>(p.init), p.bias, p.c, p.c_row);
}

const Entries entries = {
    {panel_width<F32>, &packed_elements<F32>, &product<F32>},
    {panel_width<F64>, &packed_elements<F64>, &product<F64>},
};
