// The operators in the graph of an exported layer, for programs without Python.
//
// Loading this library registers `ramgru::linear_scan`, `gru`, `diagonal_gru`, `memory_scan` and
// `memory_step_` with torch, forward and on CPUs, by the kernels of `library.so`. It links LibTorch's
// stable ABI of 2.10 alone, which later versions are to keep; tested with torch 2.13. Python has
// operators of its own and does not load it; `examples/cpp` builds it. Each function follows the `cpu.py`
// of its operation.
#define TORCH_TARGET_VERSION (((0ULL + 2) << 56) | ((0ULL + 10) << 48))
#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

// The headers of the kernels give the structs of their arguments; nothing of them is compiled here.
#define RAMGRU_ISA baseline
#define RAMGRU_VECTOR_BYTES 16
#include "../memory_scan/scan.h"
#include "../recurrence/diagonal.h"
#include "../recurrence/gru.h"
#include "../recurrence/scan.h"

extern "C" int ramgru_supports(const char* isa);
extern "C" void ramgru_set_runtime(void* parallel, void* thread_number, void* team_size);

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Maybe = std::optional<Tensor>;
using Sizes = std::vector<std::int64_t>;

// The library of the kernels, which this one links.
void* kernels() {
  static void* const library = [] {
    Dl_info found{};
    dladdr(reinterpret_cast<void*>(&ramgru_supports), &found);
    return dlopen(found.dli_fname, RTLD_NOW | RTLD_NOLOAD);
  }();
  return library;
}

// The instruction set, as Python chooses it.
const std::string& isa() {
  static const std::string chosen = [] {
    if (const char* wanted = std::getenv("RAMGRU_ISA")) return std::string(wanted);
    for (std::string each : {"avx512", "avx2"})
      if (ramgru_supports(each.c_str()) &&
          dlsym(kernels(), ("ramgru_memory_step_float32_" + each).c_str()))
        return each;
    return std::string("baseline");
  }();
  return chosen;
}

class Kernel {
 public:
  explicit Kernel(const std::string& name) : name_(name) {
    const char* storages[] = {"float32", "float64", "bfloat16"};
    for (int i = 0; i < 3; ++i) {
      std::string symbol = "ramgru_" + name + "_" + storages[i] + "_" + isa();
      call_[i] = reinterpret_cast<Function>(dlsym(kernels(), symbol.c_str()));
    }
  }

  template <class Arguments>
  void operator()(ScalarType storage, Arguments& a) const {
    Function call = call_[storage == ScalarType::Double ? 1 : storage == ScalarType::BFloat16 ? 2 : 0];
    STD_TORCH_CHECK(call, name_, ": no kernel for the instruction set ", isa());
    a.bytes = sizeof a;
    a.threads = torch::stable::get_num_threads();
    int failed = call(&a);
    STD_TORCH_CHECK(failed != 1, name_, ": not enough memory");
    STD_TORCH_CHECK(failed != 3, name_, ": expected cells in [0, memory_size), or -1 for none");
    STD_TORCH_CHECK(!failed, name_, ": the library of the kernels has other sources");
  }

 private:
  using Function = int (*)(const void*);
  std::string name_;
  std::array<Function, 3> call_;
};

// float64 if any of the tensors is, else float32.
ScalarType computed_in(std::initializer_list<const Maybe*> tensors) {
  for (const Maybe* t : tensors)
    if (*t && (*t)->scalar_type() == ScalarType::Double) return ScalarType::Double;
  return ScalarType::Float;
}

// Contiguous and in another dtype; the tensor itself if it is so already.
Tensor as(const Tensor& x, ScalarType dtype) {
  return torch::stable::contiguous(x.scalar_type() == dtype ? x : torch::stable::to(x, dtype));
}
Maybe as(const Maybe& x, ScalarType dtype) { return x ? Maybe(as(*x, dtype)) : x; }
Maybe plain(const Maybe& x) { return x ? Maybe(torch::stable::contiguous(*x)) : x; }

// Of other tensors' dtype in storage: bfloat16 stays as it is if the computation is in float32.
Tensor stored(const Tensor& x, ScalarType wide) {
  bool narrow = x.scalar_type() == ScalarType::BFloat16 && wide == ScalarType::Float;
  return as(x, narrow ? ScalarType::BFloat16 : wide);
}

Tensor made(const Tensor& like, const Sizes& shape, ScalarType dtype) {
  return torch::stable::new_empty(like, shape, dtype);
}

template <class T = void>
const T* data(const Tensor& x) {
  return static_cast<const T*>(x.data_ptr());
}
template <class T = void>
const T* data(const Maybe& x) {
  return x ? data<T>(*x) : nullptr;
}

Tensor linear_scan(Tensor decay, Tensor update, Tensor initial, bool reverse) {
  static const Kernel kernel("linear_scan");
  ScalarType wide = update.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  Tensor a = as(decay, wide), u = as(update, wide), h = as(initial, wide);
  Tensor states = made(u, {u.size(0), u.size(1), u.size(2)}, wide);
  ramgru::LinearScan given{};
  given.B = u.size(0), given.T = u.size(1), given.H = u.size(2), given.reverse = reverse;
  given.decay = data(a), given.update = data(u), given.initial = data(h);
  given.states = states.data_ptr();
  kernel(wide, given);
  return as(states, update.scalar_type());
}

// -> the states of all steps, and the last one
template <class Arguments>
std::tuple<Tensor, Tensor> gated(const Kernel& kernel, const Tensor& projected, const Tensor& initial,
                                 const Tensor& weight_hh, const Maybe& bias_hh, const Maybe& reset,
                                 const Maybe& lengths) {
  ScalarType dtype = initial.scalar_type();
  ScalarType wide = dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  Tensor x = stored(projected, wide), h = as(initial, wide), weight = as(weight_hh, wide);
  Maybe bias = as(bias_hh, wide), anew = plain(reset), ends = plain(lengths);
  std::int64_t B = x.size(0), T = x.size(1), H = h.size(1);
  Tensor states = made(h, {B, T, H}, wide), last = made(h, {B, H}, wide);
  if (!projected.numel()) return {as(states, dtype), torch::stable::clone(initial)};
  Arguments a{};
  a.B = B, a.T = T, a.H = H;
  a.projected = data(x), a.initial = data(h), a.weight = data(weight), a.bias = data(bias);
  a.reset = data<bool>(anew), a.lengths = data<std::int64_t>(ends);
  a.states = states.data_ptr(), a.last = last.data_ptr();
  kernel(x.scalar_type(), a);
  return {as(states, dtype), as(last, dtype)};
}

std::tuple<Tensor, Tensor> gru(Tensor projected, Tensor initial, Tensor weight_hh, Maybe bias_hh,
                               Maybe reset, Maybe lengths) {
  static const Kernel kernel("gru_forward");
  return gated<ramgru::GruForward>(kernel, projected, initial, weight_hh, bias_hh, reset, lengths);
}

std::tuple<Tensor, Tensor> diagonal_gru(Tensor projected, Tensor initial, Tensor weight_hh,
                                        Maybe bias_hh, Maybe reset, Maybe lengths) {
  static const Kernel kernel("diagonal_gru_forward");
  return gated<ramgru::DiagonalGruForward>(kernel, projected, initial, weight_hh, bias_hh, reset,
                                           lengths);
}

// Where the accesses of each of H heads begin in a step, and their number: `counts` has one number a
// head, or none if all heads have `each`.
Sizes offsets(std::int64_t H, const std::int64_t* counts, std::int64_t each) {
  Sizes first(1);
  for (std::int64_t h = 0; h < H; ++h) first.push_back(first.back() + (counts ? counts[h] : each));
  return first;
}

std::int64_t most(const Sizes& first) {
  std::int64_t found = 0;
  for (std::size_t h = 1; h < first.size(); ++h) found = std::max(found, first[h] - first[h - 1]);
  return found;
}

// -> outputs, final cells, final rows; nothing is saved for backward. AOTInductor gives no counts for
// an empty list of them.
std::vector<Tensor> memory_scan(Tensor write_index, Tensor write_weight, Tensor gate, Tensor candidate,
                                Tensor read_index, Tensor read_weight, Maybe initial_cells,
                                Maybe initial_rows, Maybe fresh_left, Maybe fresh_right, Maybe reset,
                                Maybe lengths, Maybe query, Maybe match, Maybe null,
                                std::int64_t memory_size, std::optional<Sizes> given_counts, bool want_final) {
  static const Kernel kernel("memory_scan_forward");
  ScalarType dtype = candidate.scalar_type();
  Maybe given[] = {write_weight, gate, candidate, read_weight};
  ScalarType wide = computed_in({&given[0], &given[1], &given[2], &given[3], &initial_rows, &fresh_left,
                                 &fresh_right, &query, &match, &null});
  write_index = torch::stable::contiguous(write_index), write_weight = as(write_weight, wide);
  read_index = torch::stable::contiguous(read_index), read_weight = as(read_weight, wide);
  gate = as(gate, wide), candidate = stored(candidate, wide);
  initial_cells = plain(initial_cells), initial_rows = as(initial_rows, wide);
  fresh_left = as(fresh_left, wide), fresh_right = as(fresh_right, wide);
  reset = plain(reset), lengths = plain(lengths);
  query = as(query, wide), match = as(match, wide), null = as(null, wide);

  ramgru::MemoryForward a{};
  a.B = candidate.size(0), a.T = candidate.size(1), a.H = candidate.size(2), a.D = candidate.size(3);
  const Sizes counts = given_counts.value_or(Sizes{});
  bool even = counts.empty();
  Sizes first_write = offsets(a.H, even ? nullptr : counts.data(), even ? write_index.size(3) : 0);
  Sizes first_read = offsets(a.H, even ? nullptr : counts.data() + a.H, even ? read_index.size(3) : 0);
  a.K = most(first_write), a.J = most(first_read);
  a.A = query ? query->size(3) : 0, a.Q = match ? match->size(0) : 1;
  a.N = memory_size, a.P = initial_cells ? initial_cells->size(2) : 0;
  a.G = a.R = a.C = 1;
  if (fresh_left) a.G = fresh_left->size(0), a.R = fresh_left->size(1), a.C = fresh_right->size(1);
  a.dense_final = (initial_rows && !initial_cells) || a.P + a.T * a.K >= a.N;
  for (a.slices = 1; !query && a.B * a.H * a.slices < 8 && 32 * a.slices <= a.D;) a.slices *= 2;
  a.first_write = first_write.data(), a.first_read = first_read.data();
  a.write_index = data<std::int64_t>(write_index), a.write_weight = data(write_weight);
  a.gate = data(gate), a.candidate = data(candidate);
  a.read_index = data<std::int64_t>(read_index), a.read_weight = data(read_weight);
  a.initial_cells = data<std::int64_t>(initial_cells), a.initial_rows = data(initial_rows);
  a.fresh_left = data(fresh_left), a.fresh_right = data(fresh_right);
  a.reset = data<bool>(reset), a.lengths = data<std::int64_t>(lengths);
  a.query = data(query), a.match = data(match), a.null = data(null);

  std::int64_t places = want_final ? a.P + a.T * a.K : 0;
  bool dense = want_final && a.dense_final;
  Tensor outputs = made(candidate, {a.B, a.T, a.H, a.output_width()}, candidate.scalar_type());
  Tensor cells = made(write_index, {a.B, a.H, dense ? 0 : places}, ScalarType::Long);
  Tensor rows = made(candidate, {a.B, a.H, dense ? a.N : places, a.D}, wide);
  a.outputs = outputs.data_ptr(), a.cells = static_cast<std::int64_t*>(cells.data_ptr());
  a.rows = want_final ? rows.data_ptr() : nullptr;
  kernel(candidate.scalar_type(), a);
  return {as(outputs, dtype), cells, rows};
}

// One step, which overwrites rows -> what each head reads.
Tensor memory_step(Tensor rows, Tensor write_index, Tensor write_weight, Tensor gate, Tensor candidate,
                   Tensor read_index, Tensor read_weight, Maybe query, Maybe match, Maybe null) {
  static const Kernel kernel("memory_step");
  ScalarType wide = rows.scalar_type();
  STD_TORCH_CHECK(wide == ScalarType::Float || wide == ScalarType::Double,
                  "memory_step_: expected rows in float32 or float64");
  STD_TORCH_CHECK(rows.is_contiguous(), "memory_step_: expected contiguous rows");
  write_index = torch::stable::contiguous(write_index), write_weight = as(write_weight, wide);
  read_index = torch::stable::contiguous(read_index), read_weight = as(read_weight, wide);
  gate = as(gate, wide), candidate = as(candidate, wide);
  query = as(query, wide), match = as(match, wide), null = as(null, wide);
  ramgru::MemoryStep a{};
  a.B = rows.size(0), a.H = rows.size(1), a.N = rows.size(2), a.D = rows.size(3);
  a.K = write_index.size(2), a.J = read_index.size(2), a.A = query ? query->size(2) : 0;
  Tensor outputs = made(rows, {a.B, a.H, a.D - a.A + (a.A > 0)}, wide);
  a.rows = rows.data_ptr();
  a.write_index = data<std::int64_t>(write_index), a.write_weight = data(write_weight);
  a.gate = data(gate), a.candidate = data(candidate);
  a.read_index = data<std::int64_t>(read_index), a.read_weight = data(read_weight);
  a.query = data(query), a.match = data(match), a.null = data(null);
  a.outputs = outputs.data_ptr();
  kernel(wide, a);
  return outputs;
}

// Kernels share torch's threads: the OpenMP runtime that torch has loaded, if it has GNU's entries.
const bool shares_threads = [] {
  const char* names[] = {"GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"};
  void* found[3];
  for (int i = 0; i < 3; ++i)
    if (!(found[i] = dlsym(RTLD_DEFAULT, names[i]))) return false;
  ramgru_set_runtime(found[0], found[1], found[2]);
  return true;
}();

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ramgru, m) {
  m.def("linear_scan(Tensor decay, Tensor update, Tensor initial, bool reverse) -> Tensor");
  m.def(
      "gru(Tensor projected, Tensor initial, Tensor weight_hh, Tensor? bias_hh, Tensor? reset, "
      "Tensor? lengths) -> (Tensor, Tensor)");
  m.def(
      "diagonal_gru(Tensor projected, Tensor initial, Tensor weight_hh, Tensor? bias_hh, Tensor? reset, "
      "Tensor? lengths) -> (Tensor, Tensor)");
  m.def(
      "memory_scan(Tensor write_index, Tensor write_weight, Tensor gate, Tensor candidate, Tensor "
      "read_index, Tensor read_weight, Tensor? initial_cells, Tensor? initial_rows, Tensor? fresh_left, "
      "Tensor? fresh_right, Tensor? reset, Tensor? lengths, Tensor? query, Tensor? match, Tensor? null, "
      "SymInt memory_size, SymInt[]? counts, bool want_final) -> Tensor[]");
  m.def(
      "memory_step_(Tensor(a!) rows, Tensor write_index, Tensor write_weight, Tensor gate, Tensor "
      "candidate, Tensor read_index, Tensor read_weight, Tensor? query, Tensor? match_weight, Tensor? "
      "null) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(ramgru, CPU, m) {
  m.impl("linear_scan", TORCH_BOX(&linear_scan));
  m.impl("gru", TORCH_BOX(&gru));
  m.impl("diagonal_gru", TORCH_BOX(&diagonal_gru));
  m.impl("memory_scan", TORCH_BOX(&memory_scan));
  m.impl("memory_step_", TORCH_BOX(&memory_step));
}
