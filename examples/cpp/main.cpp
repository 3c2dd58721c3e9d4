// Runs a layer or a model that AOTInductor has compiled, without Python.
//
//   main once|steps PACKAGE INPUTS OUTPUTS
//
// once:  INPUTS holds the arguments of one call.
// steps: INPUTS holds (T, B, ...), the first arguments of T steps, and then the state. A step returns its
//        output and the next state; or its output alone, if it overwrites the state in place.
// INPUTS comes from torch.save, a list of tensors; OUTPUTS is for torch.load, a tuple of tensors.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <ATen/ops/stack.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/csrc/jit/serialization/pickle.h>

using Tensors = std::vector<at::Tensor>;
using Model = torch::inductor::AOTIModelPackageLoader;

Tensors read(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(stream)), {});
  c10::IValue list = torch::jit::pickle_load(bytes);
  Tensors found;
  for (const c10::IValue& value : list.toListRef()) found.push_back(value.toTensor());
  return found;
}

void write(const std::string& file, const Tensors& tensors) {
  std::vector<c10::IValue> values(tensors.begin(), tensors.end());
  auto bytes = torch::jit::pickle_save(c10::ivalue::Tuple::create(std::move(values)));
  std::ofstream(file, std::ios::binary).write(bytes.data(), bytes.size());
}

Tensors steps(Model& model, Tensors given) {
  Tensors outputs, inputs = given[0].unbind(0);
  for (const at::Tensor& x : inputs) {
    given[0] = x;
    Tensors found = model.run(given);
    outputs.push_back(found[0]);
    if (found.size() > 1) given = found;
  }
  given[0] = at::stack(outputs);
  return given;
}

int main(int count, char** words) {
  if (count != 5) {
    std::fprintf(stderr, "usage: main once|steps PACKAGE INPUTS OUTPUTS\n");
    return 2;
  }
  c10::InferenceMode guard;
  Model model(words[2]);
  Tensors given = read(words[3]);
  write(words[4], words[1] == std::string("steps") ? steps(model, given) : model.run(given));
}
