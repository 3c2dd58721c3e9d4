// An operator of nine tensors that does nothing, through LibTorch's stable ABI (native_call.py).
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

using torch::stable::Tensor;

static volatile std::uintptr_t sink;

static Tensor stable(Tensor a, Tensor b, Tensor c, Tensor d, Tensor e, Tensor f, Tensor g, Tensor h,
                     Tensor i) {
  std::uintptr_t sum = 0;
  for (const Tensor* t : {&a, &b, &c, &d, &e, &f, &g, &h, &i})
    if (t->is_contiguous()) sum += reinterpret_cast<std::uintptr_t>(t->data_ptr());
  sink = sum;
  return torch::stable::new_empty(a, {1});
}

STABLE_TORCH_LIBRARY(ramgru_bench, m) {
  m.def("stable(Tensor a, Tensor b, Tensor c, Tensor d, Tensor e, Tensor f, Tensor g, Tensor h, "
        "Tensor i) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(ramgru_bench, CPU, m) { m.impl("stable", TORCH_BOX(&stable)); }
