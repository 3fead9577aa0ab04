#include <cctype>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <stdexcept>

#include "ptx/ptx.h"

namespace bptt_ptx {
namespace {

constexpr uint64_t kRedZone = 256;  // between shared arrays

struct Token {
  std::string text;
  int line = 0;
};

bool in_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' ||
         c == '.' || c == '-';
}

// Words and single signs; comments are left out.
std::vector<Token> tokens_of(const std::string& text) {
  std::vector<Token> tokens;
  int line = 1;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '\n') ++line;
    if (std::isspace(static_cast<unsigned char>(c)) || c == '\0') {
      ++at;
    } else if (text.compare(at, 2, "//") == 0) {
      at = std::min(text.find('\n', at), text.size());
    } else if (c == '"') {
      const size_t end = std::min(text.find('"', at + 1), text.size() - 1) + 1;
      tokens.push_back({text.substr(at, end - at), line});
      at = end;
    } else {
      size_t end = at;
      while (end < text.size() && in_word(text[end])) ++end;
      if (end == at) ++end;
      tokens.push_back({text.substr(at, end - at), line});
      at = end;
    }
  }
  return tokens;
}

[[noreturn]] void fail(const std::string& what, int line) {
  throw std::runtime_error("line " + std::to_string(line) + ": " + what);
}

class Parser {
 public:
  explicit Parser(const std::string& text) : tokens_(tokens_of(text)) {}

  std::map<std::string, Kernel> kernels, functions;
  std::map<std::string, Table> tables;

  void parse() {
    while (at_ < tokens_.size()) {
      const Token token = take();
      if (token.text == ".version" || token.text == ".target" || token.text == ".address_size") {
        take();
      } else if (token.text == ".entry") {
        parse_kernel();
      } else if (token.text == ".func") {
        parse_function();
      } else if (token.text == ".global") {
        parse_table();
      } else if (token.text != ".visible") {
        fail("\"" + token.text + "\" is not expected here", token.line);
      }
    }
    for (auto* list : {&kernels, &functions}) {
      for (auto& [name, kernel] : *list) resolve_calls(kernel);
    }
  }

 private:
  struct Call {
    std::string kernel;
    size_t instruction;
    size_t arguments;
    Token callee;
  };
  struct Jump {
    size_t instruction;
    Token label;
  };

  // -- tokens ------------------------------------------------------------------

  bool next_is(const char* text) const { return at_ < tokens_.size() && tokens_[at_].text == text; }
  Token take() {
    if (at_ == tokens_.size()) fail("the text ends too early", tokens_.empty() ? 0 : line());
    return tokens_[at_++];
  }
  void take(const char* text) {
    const Token token = take();
    if (token.text != text)
      fail(std::string("expected \"") + text + "\", got \"" + token.text + "\"", token.line);
  }
  bool take_if(const char* text) { return next_is(text) && ++at_; }
  int line() const { return tokens_[at_ < tokens_.size() ? at_ : tokens_.size() - 1].line; }

  static uint64_t number(const Token& token) {
    const std::optional<uint64_t> value = value_of(token.text);
    if (!value) fail("\"" + token.text + "\" is no number", token.line);
    return *value;
  }
  // 12, -3, 0x1F; a float by its bits: 0f3F800000, 0d3FF0000000000000.
  static std::optional<uint64_t> value_of(const std::string& text) {
    const bool is_float = text.rfind("0f", 0) == 0 || text.rfind("0d", 0) == 0;
    const char* begin = text.c_str() + (is_float ? 2 : 0);
    char* end = nullptr;
    const bool negative = *begin == '-';
    const uint64_t value = std::strtoull(begin + negative, &end, is_float ? 16 : 0);
    if (end == begin + negative || *end != '\0') return std::nullopt;
    return negative ? 0 - value : value;
  }

  // -- declarations --------------------------------------------------------------

  static size_t size_of(const Token& type) {
    const size_t digits = type.text.find_first_of("0123456789");
    if (digits == std::string::npos) fail("\"" + type.text + "\" has no size", type.line);
    return std::strtoul(type.text.c_str() + digits, nullptr, 10) / 8;
  }

  struct Variable {
    std::string name;
    size_t bytes, alignment;
  };
  // .align 8 .b8 name[344]
  Variable parse_variable() {
    Variable variable = {"", 1, 1};
    if (take_if(".align")) variable.alignment = number(take());
    const size_t scalar = size_of(take());
    variable.name = take().text;
    variable.bytes = scalar;
    if (variable.alignment < scalar) variable.alignment = scalar;
    if (take_if("[")) {
      variable.bytes = scalar * number(take());
      take("]");
    }
    return variable;
  }

  int add_register(const std::string& name) {
    return registers_.try_emplace(name, static_cast<int>(registers_.size())).first->second;
  }
  // .reg .b32 %r<170>, or names; one that a block declares anew keeps its place.
  void parse_registers() {
    take();  // the type
    do {
      const Token name = take();
      if (take_if("<")) {
        const uint64_t count = number(take());
        take(">");
        for (uint64_t i = 0; i < count; ++i) add_register(name.text + std::to_string(i));
      } else {
        add_register(name.text);
      }
    } while (take_if(","));
    take(";");
  }
  void parse_shared() {
    const Variable variable = parse_variable();
    take(";");
    shared_end_ =
        (shared_end_ + kRedZone + variable.alignment - 1) / variable.alignment * variable.alignment;
    kernel_.shared.push_back({variable.name, shared_end_, variable.bytes, variable.alignment});
    symbols_[variable.name] = shared_end_;
    shared_end_ += variable.bytes;
  }
  // Of .local, and of .param in a body: what a function is given, or gives back. One that a block
  // declares anew has memory of its own.
  void add_local(const Variable& variable) {
    uint64_t& end = kernel_.local_end;
    end = (end + kRedZone + variable.alignment - 1) / variable.alignment * variable.alignment;
    kernel_.local.push_back({variable.name, end, variable.bytes, variable.alignment});
    symbols_[variable.name] = end;
    end += variable.bytes;
  }
  void parse_argument() {
    take(".param");
    const Variable variable = parse_variable();
    size_t& bytes = kernel_.argument_bytes;
    bytes = (bytes + variable.alignment - 1) / variable.alignment * variable.alignment;
    symbols_[variable.name] = kArgumentsBegin + bytes;
    kernel_.arguments.push_back(
        {variable.name, kArgumentsBegin + bytes, variable.bytes, variable.alignment});
    bytes += variable.bytes;
  }
  // .align 8 .b8 name[3] = {1, 2, 3};
  void parse_table() {
    const Token place = tokens_[at_];
    const Variable variable = parse_variable();
    if (variable.alignment > alignof(Table::Line)) fail("too large an alignment", place.line);
    Table& table = tables[variable.name];
    table.bytes = variable.bytes;
    table.lines.resize((variable.bytes + sizeof(Table::Line) - 1) / sizeof(Table::Line));
    auto* bytes = reinterpret_cast<unsigned char*>(table.lines.data());
    take("=");
    take("{");
    size_t i = 0;
    do {  // those that are not given are 0
      const Token value = take();
      if (i == variable.bytes) fail("more values than bytes", value.line);
      if (number(value) > 255) fail("\"" + value.text + "\" is no byte", value.line);
      bytes[i++] = static_cast<unsigned char>(number(value));
    } while (take_if(","));
    take("}");
    take(";");
  }

  // -- kernels and functions ---------------------------------------------------------

  void begin_kernel() {
    kernel_ = {};
    registers_.clear();
    symbols_.clear();
    labels_.clear();
    jumps_.clear();
    shared_end_ = kSharedBegin;
  }

  void parse_name_and_arguments() {
    kernel_.name = take().text;
    take("(");
    while (!take_if(")")) {
      parse_argument();
      take_if(",");
    }
  }

  void parse_kernel() {
    begin_kernel();
    parse_name_and_arguments();
    while (next_is(".maxntid") || next_is(".reqntid") || next_is(".minnctapersm"))
      while (!next_is("{") && tokens_[++at_].text[0] != '.') {
      }
    parse_body();
    kernels[kernel_.name] = std::move(kernel_);
  }

  // (.param .b64 result) name(.param .b64 argument) and a body, or a semicolon where that comes
  // later
  void parse_function() {
    begin_kernel();
    take("(");
    take(".param");
    add_local(parse_variable());
    take(")");
    parse_name_and_arguments();
    if (take_if(";")) return;
    parse_body();
    functions[kernel_.name] = std::move(kernel_);
  }

  void parse_body() {
    take("{");
    for (int depth = 1; depth > 0;) {
      if (take_if("{"))
        ++depth;
      else if (take_if("}"))
        --depth;
      else
        parse_statement();
    }
    for (const Jump& jump : jumps_) {
      const auto label = labels_.find(jump.label.text);
      if (label == labels_.end()) fail("there is no label " + jump.label.text, jump.label.line);
      kernel_.code[jump.instruction].operands[0].value = label->second;
    }
    kernel_.registers = static_cast<int>(registers_.size());
  }

  // (result), name, (argument, argument);
  void parse_call(Instruction& instruction) {
    const auto variable = [&] {
      const Token name = take();
      const auto found = symbols_.find(name.text);
      if (found == symbols_.end()) fail("there is no variable " + name.text, name.line);
      return Operand{Operand::kValue, found->second};
    };
    take("(");
    instruction.operands[0] = variable();
    take(")");
    take(",");
    const Token callee = take();
    take(",");
    take("(");
    size_t count = 0;
    do {
      if (++count == kMostOperands) fail("too many operands", callee.line);
      instruction.operands[count] = variable();
    } while (take_if(","));
    take(")");
    take(";");
    instruction.handler = find_handler("call");
    calls_.push_back({kernel_.name, kernel_.code.size(), count, callee});
  }

  // Functions may follow those who call them.
  void resolve_calls(Kernel& kernel) {
    for (const Call& call : calls_) {
      if (call.kernel != kernel.name) continue;
      const auto found = functions.find(call.callee.text);
      if (found == functions.end())
        fail("there is no function " + call.callee.text, call.callee.line);
      if (found->second.arguments.size() != call.arguments)
        fail("another number of arguments than " + call.callee.text + " has", call.callee.line);
      kernel.code[call.instruction].callee = &found->second;
    }
  }

  void parse_statement() {
    if (take_if(".reg")) return parse_registers();
    if (take_if(".shared")) return parse_shared();
    if (take_if(".local") || take_if(".param")) {
      add_local(parse_variable());
      return take(";");
    }
    if (take_if(".pragma")) {
      while (!take_if(";")) take();
      return;
    }
    Instruction instruction;
    instruction.line = line();
    if (take_if("@")) {
      instruction.guard_negated = take_if("!");
      const Token name = take();
      const auto guard = registers_.find(name.text);
      if (guard == registers_.end()) fail("there is no register " + name.text, name.line);
      instruction.guard = guard->second;
    }
    const Token name = take();
    if (take_if(":")) {
      labels_[name.text] = kernel_.code.size();
      return;
    }
    parse_operands(name, instruction);
    kernel_.code.push_back(instruction);
  }

  void parse_operands(const Token& name, Instruction& instruction) {
    if (name.text[0] == '.') fail("the directive \"" + name.text + "\" is not known", name.line);
    std::string form = name.text;  // with the places of vectors
    if (form == "bra" || form == "bra.uni") {
      jumps_.push_back({kernel_.code.size(), take()});
      take(";");
      instruction.handler = find_handler("bra");
      return;
    }
    if (form == "call" || form == "call.uni") return parse_call(instruction);
    size_t count = 0;
    const auto add = [&](const Operand& operand) {
      if (count == kMostOperands) fail("too many operands", name.line);
      instruction.operands[count++] = operand;
    };
    for (int place = 0; !take_if(";"); ++place) {
      if (place > 0) take(",");
      if (take_if("{")) {
        int size = 0;
        do {
          add(parse_operand());
          ++size;
        } while (take_if(","));
        take("}");
        form += " {" + std::to_string(size) + "}@" + std::to_string(place);
      } else if (take_if("[")) {
        add(parse_operand());
        add({Operand::kValue, take_if("+") ? number(take()) : 0});
        take("]");
      } else {
        add(parse_operand());
        if (take_if("|")) add(parse_operand());
      }
    }
    instruction.handler = find_handler(form);
    if (!instruction.handler) fail("the instruction \"" + form + "\" is not known", name.line);
  }

  Operand parse_operand() {
    const Token token = take();
    if (const auto found = registers_.find(token.text); found != registers_.end())
      return {Operand::kRegister, static_cast<uint64_t>(found->second)};
    if (token.text == "_") return {Operand::kRegister, static_cast<uint64_t>(add_register("_"))};
    if (const unsigned* special = find_special(token.text)) return {Operand::kSpecial, 0, special};
    if (const auto found = symbols_.find(token.text); found != symbols_.end())
      return {Operand::kValue, found->second};
    if (const auto found = tables.find(token.text); found != tables.end())
      return {Operand::kValue, found->second.address()};
    return {Operand::kValue, number(token)};
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;

  // Of the kernel that is being read.
  Kernel kernel_;
  std::map<std::string, int> registers_;
  std::map<std::string, uint64_t> symbols_;  // addresses
  std::map<std::string, size_t> labels_;
  std::vector<Jump> jumps_;
  std::vector<Call> calls_;  // of all
  uint64_t shared_end_ = 0;
};

}  // namespace

Module::Module(const std::string& text, std::string name) : name_(std::move(name)) {
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines_.push_back(line);
  Parser parser(text);
  parser.parse();
  // Moved, elements stay where they are: calls and addresses hold.
  kernels_ = std::move(parser.kernels);
  functions_ = std::move(parser.functions);
  tables_ = std::move(parser.tables);
  for (auto* list : {&kernels_, &functions_}) {
    for (auto& [_, kernel] : *list) kernel.module = this;
  }
}

bool Module::has_constants(uint64_t address, size_t bytes) const {
  for (const auto& [_, table] : tables_) {
    if (address >= table.address() && address + bytes <= table.address() + table.bytes) return true;
  }
  return false;
}

const Kernel* Module::find(const std::string& kernel) const {
  const auto found = kernels_.find(kernel);
  return found == kernels_.end() ? nullptr : &found->second;
}

std::string Module::describe(int line) const {
  const std::string& text = lines_.at(static_cast<size_t>(line) - 1);
  const size_t begin = text.find_first_not_of(" \t");
  return name_ + ":" + std::to_string(line) + ": " +
         (begin == std::string::npos ? "" : text.substr(begin));
}

}  // namespace bptt_ptx
