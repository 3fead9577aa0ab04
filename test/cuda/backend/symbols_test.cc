// Every function of the tables in library.h is a symbol of the libraries: of the fakes, and of
// NVIDIA's own where they are (native/cuda/fetch.mjs --libraries puts them there). The files
// are read, not loaded.
#include <elf.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cuda/library.h"
#include "native/check.h"

namespace {

using Names = std::vector<std::string>;

// By another macro, so that a name which cuda.h maps to a later version is mapped first.
#define TEXT(name) #name
#define SYMBOL(name) TEXT(name),
const Names driver = {BPTT_DRIVER_FUNCTIONS(SYMBOL)};
const Names cublas = {BPTT_CUBLASLT_FUNCTIONS(SYMBOL)};
const Names cudnn = {BPTT_CUDNN_FUNCTIONS(SYMBOL)};

template <class Item>
std::vector<Item> read(std::ifstream& file, uint64_t offset, uint64_t bytes) {
  std::vector<Item> items(bytes / sizeof(Item));
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(reinterpret_cast<char*>(items.data()),
            static_cast<std::streamsize>(items.size() * sizeof(Item)));
  return items;
}

// The names that a shared library defines, by its table of dynamic symbols.
std::set<std::string> dynamic_symbols(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::set<std::string> names;
  const auto header = read<Elf64_Ehdr>(file, 0, sizeof(Elf64_Ehdr))[0];
  const auto sections =
      read<Elf64_Shdr>(file, header.e_shoff, uint64_t(header.e_shnum) * sizeof(Elf64_Shdr));
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_DYNSYM) continue;
    const Elf64_Shdr& strings = sections.at(section.sh_link);
    const auto text = read<char>(file, strings.sh_offset, strings.sh_size);
    for (const auto& symbol : read<Elf64_Sym>(file, section.sh_offset, section.sh_size)) {
      if (symbol.st_shndx != SHN_UNDEF) names.insert(&text.at(symbol.st_name));
    }
  }
  return names;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// The first file of these names in a colon-separated list of folders, or nothing.
std::string find(const std::string& folders, const Names& files) {
  std::istringstream list(folders);
  for (std::string folder; std::getline(list, folder, ':');) {
    for (const std::string& file : files) {
      const std::string path = folder + "/" + file;
      if (std::filesystem::exists(path)) return path;
    }
  }
  return {};
}

void check_names(const std::string& path, const Names& names) {
  const std::set<std::string> symbols = dynamic_symbols(path);
  for (const std::string& name : names) {
    CHECK_MSG(symbols.count(name) == 1, "%s is not in %s", name.c_str(), path.c_str());
  }
  std::printf("%zu functions looked up in %s\n", names.size(), path.c_str());
}

void check_library(const Names& files, const Names& names) {
  const std::string fake = find(variable("BPTT_CUDA_PATH"), files);
  CHECK_MSG(!fake.empty(), "no fake %s", files[0].c_str());
  if (!fake.empty()) check_names(fake, names);
  const std::string real = find(variable("BPTT_CUDA_LIBRARIES"), files);
  if (!real.empty()) {
    check_names(real, names);
  } else {
    std::printf("skipped: NVIDIA's %s is not in %s\n", files[0].c_str(),
                variable("BPTT_CUDA_LIBRARIES").c_str());
  }
}

// The toolkit lists the driver's functions for profilers: as good as the library's own table
// where there is no driver.
void check_driver_list(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  for (const std::string& name : driver) {
    CHECK_MSG(text.find("_CBID_" + name + " ") != std::string::npos, "%s is not in %s",
              name.c_str(), path.c_str());
  }
  std::printf("%zu functions looked up in %s\n", driver.size(), path.c_str());
}

// A program that accepted any name would be of no use.
void check_refusal() {
  const std::string fake = find(variable("BPTT_CUDA_PATH"), {"libcuda.so.1"});
  if (fake.empty()) return;
  CHECK(dynamic_symbols(fake).count("cuNoSuchFunction") == 0);
  CHECK(dynamic_symbols(fake).count("memcpy") == 0);  // used there, not defined
}

}  // namespace

int main() {
  check_library({"libcuda.so.1", "libcuda.so"}, driver);
  check_library({"libcublasLt.so.13"}, cublas);
  check_library({"libcudnn.so.9"}, cudnn);
  const std::string list = variable("BPTT_CUDA_DRIVER_LIST");
  if (list.empty()) {
    std::puts("skipped: the toolkit's list of driver functions is not here");
  } else {
    check_driver_list(list);
  }
  check_refusal();
  return bptt_test::finish();
}
