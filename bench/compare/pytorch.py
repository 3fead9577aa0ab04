"""PyTorch as a contender of `bptt bench`; README.md beside this file has the protocol.

Runs as `python -I pytorch.py`. With the argument `find` it only says which PyTorch there is, and with `find cuda`
ends with 3 if that sees no CUDA device.
"""

import json
import os
import resource
import site
import sys
import time

if sys.prefix == sys.base_prefix:
    # -I leaves out the user's own packages, too, where pip installs by default; a virtual environment has none.
    site.addsitedir(site.getusersitepackages())

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
DTYPES = {"float32": torch.float32, "float64": torch.float64, "int32": torch.int32}


class Unsupported(Exception):
    """PyTorch has no such pass."""


class Given:
    """The case, and its tensors from the data file."""

    def __init__(self, request):
        self.case = request["case"]
        self.dtype = DTYPES[self.case["dtype"]]
        self.device = torch.device(request["device"])
        self._path = request["data"]

    def __getitem__(self, name):
        entry = self.case["tensors"][name]
        dtype = DTYPES[entry.get("dtype", self.case["dtype"])]
        shape, start = torch.Size(entry["shape"]), entry["offset"] // dtype.itemsize
        # Mapped, not read: what is freed on the heap would stay resident and hide a peak.
        size = os.path.getsize(self._path) // dtype.itemsize
        flat = torch.from_file(self._path, shared=False, size=size, dtype=dtype)
        return flat[start:start + shape.numel()].reshape(shape).clone().to(self.device)

    def wait(self):
        """Until the device has done what was queued: a call ends with its result."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def load(self, module, prefix=""):
        """Gives the module its parameters from the file."""
        state = {name: self[prefix + name] for name in module.state_dict()}
        module.load_state_dict(state)

    def layer(self, prefix=""):
        case = self.case
        options = {"proj_size": case["projSize"]} if case["projSize"] else {}
        layer = LAYERS[case["cell"]](
            case["I"], case["H"], case["layers"],
            bidirectional=case["bidirectional"], dtype=self.dtype, device=self.device, **options,
        )
        self.load(layer, prefix)
        return layer


def caller(given, layer):
    """x [T,B,I] -> output [T,B,Dir*Hout], zero beyond the end of a ragged row."""
    if given.case["lengths"] == "full":
        return lambda x: layer(x)[0]
    lengths = torch.tensor(given.case["rows"])

    def ragged(x):
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return pad_packed_sequence(layer(packed)[0], total_length=x.shape[0])[0]

    return ragged


class Forward:
    """The module call under inference_mode."""

    def __init__(self, given):
        self.call = caller(given, given.layer().eval())
        self.x = given["x"]
        self.wait = given.wait

    @torch.inference_mode()
    def run(self, iterations):
        for _ in range(iterations):
            self.call(self.x)
            self.wait()

    @torch.inference_mode()
    def check(self, given):
        return {"output": self.call(self.x)}


class Train:
    """Forward, sum and backward; then the gradients are dropped, as zero_grad() does by default."""

    def __init__(self, given):
        self.layer = given.layer()
        self.call = caller(given, self.layer)
        self.x = given["x"].requires_grad_()
        self.wait = given.wait

    def run(self, iterations):
        for _ in range(iterations):
            self.call(self.x).sum().backward()
            self.wait()
            self.drop()

    def drop(self):
        self.layer.zero_grad(set_to_none=True)
        self.x.grad = None

    def check(self, given):
        output = self.call(self.x)
        output.backward(given["dy"])
        results = {"output": output.detach(), "dx": self.x.grad}
        for name, parameter in self.layer.named_parameters():
            results["d." + name] = parameter.grad
        self.drop()
        return results


class Step:
    """One time step with carried state, or several in a call: the cell modules or the layer, what is faster."""

    def __init__(self, given):
        case = given.case
        if given.device.type != "cpu":
            raise Unsupported("single steps are timed on the CPU alone")
        if case["bidirectional"] or case["lengths"] != "full":
            raise Unsupported("a step goes forward in time, in all rows at once")
        steps = case.get("steps", 1)
        # What a user has at hand: one tensor per call.
        ways = [self.layer_steps(given, given["x"].split(steps))]
        if steps == 1 and not case["projSize"]:
            ways.append(self.cell_steps(given, given["x"].unbind()))
        self.step, self.start, self.inputs = min(ways, key=self.seconds)
        self.state, self.next = self.start, 0

    @staticmethod
    def layer_steps(given, inputs):
        layer = given.layer().eval()

        def step(x, state):
            return layer(x, state)

        return step, None, inputs

    @staticmethod
    def cell_steps(given, inputs):
        case = given.case
        cells = []
        for i in range(case["layers"]):
            cell = CELLS[case["cell"]](case["H"] if i else case["I"], case["H"], dtype=given.dtype)
            cell.load_state_dict({name: given[f"{name}_l{i}"] for name in cell.state_dict()})
            cells.append(cell.eval())
        lstm = case["cell"] == "lstm"

        def step(x, states):
            after = []
            for cell, state in zip(cells, states):
                state = cell(x, state)
                x = state[0] if lstm else state
                after.append(state)
            return x, after

        return step, [None] * len(cells), inputs

    def seconds(self, way):
        """Of one call, in the better of three rounds."""
        self.step, self.start, self.inputs = way
        self.state, self.next = self.start, 0
        self.run(3)
        best = float("inf")
        for _ in range(3):
            begin, count = time.perf_counter(), 0
            while time.perf_counter() < begin + 0.02:
                self.run(1)
                count += 1
            best = min(best, (time.perf_counter() - begin) / count)
        return best

    @torch.inference_mode()
    def run(self, iterations):
        step, inputs, state, t = self.step, self.inputs, self.state, self.next
        for _ in range(iterations):
            _, state = step(inputs[t], state)
            t = (t + 1) % len(inputs)
        self.state, self.next = state, t

    @torch.inference_mode()
    def check(self, given):
        outputs, state = [], self.start
        for x in self.inputs:
            output, state = self.step(x, state)
            outputs.append(output.reshape(-1, *output.shape[-2:]))
        return {"output": torch.cat(outputs)}


class Demo:
    """A training step of the character model; Adam as one fused kernel, the fastest of its kinds here."""

    def __init__(self, given):
        case = given.case
        self.ids, self.targets = given["ids"].long(), given["targets"].long().flatten()
        self.wait = given.wait
        options = {"dtype": given.dtype, "device": given.device}
        self.embedding = nn.Embedding(case["V"], case["I"], **options)
        given.load(self.embedding, "embedding.")
        self.layer = given.layer("lstm.")
        self.linear = nn.Linear(case["H"], case["V"], **options)
        given.load(self.linear, "linear.")
        modules = nn.ModuleList([self.embedding, self.layer, self.linear])
        self.optimizer = torch.optim.Adam(modules.parameters(), lr=0.002, fused=True)

    def step(self):
        logits = self.linear(self.layer(self.embedding(self.ids))[0])
        loss = cross_entropy(logits.flatten(0, 1), self.targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def run(self, iterations):
        for _ in range(iterations):
            self.step()
            self.wait()

    def check(self, given):
        return {"losses": torch.stack([self.step() for _ in range(3)])}


class Decoder:
    """Train of a loop of a cell with attention: what it looked at, by its state before, is part of its input."""

    def __init__(self, given):
        case = given.case
        self.cell = CELLS[case["cell"]](case["I"] + case["H"], case["H"], dtype=given.dtype, device=given.device)
        self.cell.load_state_dict({name: given[f"{name}_l0"] for name in self.cell.state_dict()})
        self.x = given["x"].requires_grad_()
        self.memory = given["memory"].requires_grad_()
        self.zeros = torch.zeros(case["B"], case["H"], dtype=given.dtype, device=given.device)
        self.lstm = case["cell"] == "lstm"
        self.wait = given.wait

    def call(self):
        keys = self.memory.transpose(0, 1).contiguous()
        h, state, outputs = self.zeros, None, []
        for x in self.x.unbind():
            weights = torch.bmm(keys, h.unsqueeze(2)).softmax(1)
            context = torch.bmm(weights.transpose(1, 2), keys).squeeze(1)
            state = self.cell(torch.cat([x, context], 1), state)
            h = state[0] if self.lstm else state
            outputs.append(h)
        return torch.stack(outputs)

    def run(self, iterations):
        for _ in range(iterations):
            self.call().sum().backward()
            self.wait()
            self.drop()

    def drop(self):
        self.cell.zero_grad(set_to_none=True)
        self.x.grad = self.memory.grad = None

    def check(self, given):
        output = self.call()
        output.backward(given["dy"])
        results = {"output": output.detach(), "dx": self.x.grad, "dmemory": self.memory.grad}
        for name, parameter in self.cell.named_parameters():
            results[f"d.{name}_l0"] = parameter.grad
        self.drop()
        return results


PASSES = {"forward": Forward, "train": Train, "step": Step, "demo": Demo, "decoder": Decoder}


class Contender:
    """Answers the requests, one method each."""

    def __init__(self):
        self.work = None

    def prepare(self, request):
        self.work = None
        cuda = request["device"].startswith("cuda")
        if cuda and not torch.cuda.is_available():
            raise Unsupported("PyTorch sees no CUDA device")
        if cuda:
            # float32 is float32, as it is for bptt.
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        elif request["device"] != "cpu":
            raise Unsupported(f"this contender knows no device {request['device']}")
        torch.set_num_threads(request["threads"])
        given = Given(request)
        if given.case["pass"] not in PASSES:
            raise Unsupported(f"no pass {given.case['pass']}")
        self.work = PASSES[given.case["pass"]](given)
        results = {}
        if request["check"]:
            results = write(request["out"], self.work.check(given))
        version = torch.__version__
        if cuda:
            version += f" (CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()})"
        threads = torch.get_num_threads()
        return {"ready": True, "name": "torch", "version": version, "threads": threads,
                "results": results}

    def warm(self, request):
        iterations, begin = 0, time.perf_counter()
        while iterations == 0 or time.perf_counter() < begin + request["seconds"]:
            self.work.run(1)
            iterations += 1
        return {"iterations": iterations, "seconds": time.perf_counter() - begin}

    def time(self, request):
        begin = time.perf_counter()
        self.work.run(request["iterations"])
        return {"seconds": time.perf_counter() - begin}

    def memory(self, request):
        before = memory("VmRSS")
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # the peak starts anew
        except OSError:
            pass
        self.work.run(request["iterations"])
        return {"before": before, "peak": memory("VmHWM")}


def rest():
    """Waits until OpenMP's threads sleep: after a call they spin for a while, on the cores of whoever is next."""
    for _ in range(50):
        before = time.process_time()
        time.sleep(0.01)
        if time.process_time() - before < 0.001:
            return


def memory(field):
    """Bytes: of the field in /proc/self/status, or the peak of the process where there is none."""
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines[field].split()[0]) * 1024
    except (OSError, KeyError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def write(path, results):
    """Writes the tensors, all of one type, one after the other; returns where each is."""
    dtype = next(iter(results.values())).dtype
    size = sum(tensor.numel() for tensor in results.values())
    file = torch.from_file(path, shared=True, size=size, dtype=dtype)
    places, end = {}, 0
    for name, tensor in results.items():
        places[name] = {"shape": list(tensor.shape), "offset": end * dtype.itemsize}
        file[end:end + tensor.numel()] = tensor.flatten()
        end += tensor.numel()
    return places


def main():
    # Libraries print where they like: standard output is for answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    contender = Contender()
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "stop":
            return
        try:
            answer = getattr(contender, request["do"])(request)
        except Unsupported as reason:
            answer = {"unsupported": str(reason)}
        except Exception as error:  # the run goes on with the next case
            answer = {"error": f"{type(error).__name__}: {error}"}
        rest()
        answers.write(json.dumps(answer) + "\n")


def find(device):
    print(torch.__version__)
    sys.exit(0 if device != "cuda" or torch.cuda.is_available() else 3)


if __name__ == "__main__":
    if sys.argv[1:2] == ["find"]:
        find(sys.argv[2])
    else:
        main()
