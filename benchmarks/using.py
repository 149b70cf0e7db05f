"""How fast trained models answer, what training takes of the memory, and how soon things start.

    python -m benchmarks.using [encoding] [likelihood] [memory] [startup] [--rounds 5]

CPU time, one thread, the best of rounds in which all take their turns.

encoding: `transform` of 70 000 uint8 pictures by 784-512-16, beside the multiplications alone at
the speed of large matrix products, and ONNX Runtime on the same weights.
likelihood: `log_likelihood(X, 5000)` of zeros and ones by a variational autoencoder of
784-512-16-512-784, beside the decoder's multiplications alone and pythae's get_nll; and what more
memory 20 000 draws take than 5 000 at its peak.
memory: the peak of training on N uint8 pictures in a process of its own, beyond the pictures and
the model; with and without what importing torch and scikit-learn takes; and what a row more takes.
startup: CPU-seconds of `narrows --help` and `import narrows`, and whether they import torch.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import peers
from benchmarks.measuring import SEED, Products, best, compared, pictures, row, table, turns
from narrows import Autoencoder, VariationalAutoencoder

PARTS = ("encoding", "likelihood", "memory", "startup")
IN_HALF = 784 * 512 + 512 * 16
SHAPE = {"hidden_layer_sizes": (512,), "activation": "relu", "random_state": SEED}


def encoding(given):
    import onnxruntime

    from narrows import onnx

    X = pictures(given.rows)
    model = Autoencoder(16, max_epochs=1, **SHAPE).fit(X[:2000])
    encoder, _ = model.split()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        file = onnx.export(encoder, Path(folder) / "encoder.onnx")
        session = onnxruntime.InferenceSession(str(file), options)
    name = session.get_inputs()[0].name
    kind = np.float32 if "float" in session.get_inputs()[0].type else np.uint8

    def by_onnx():
        blocks = [X[start : start + 1024].astype(kind) for start in range(0, len(X), 1024)]
        return np.concatenate([session.run(None, {name: block})[0] for block in blocks])

    np.testing.assert_allclose(by_onnx()[:100], model.transform(X[:100]), rtol=1e-3, atol=1e-4)
    products = Products()
    ways = {"transform": lambda: model.transform(X), "ONNX Runtime": by_onnx, "products": products}
    seconds = best(turns(ways, given.rounds))
    floor = products.seconds(IN_HALF * len(X), seconds["products"])
    table("what", "rows a CPU-second", "of the floor")
    for what in ("transform", "ONNX Runtime"):
        row(what, f"{len(X) / seconds[what]:.0f}", f"{floor / seconds[what]:.2f}")
    row("floor: multiplications alone", f"{len(X) / floor:.0f}", "1")
    table("ratio of rates", "measured", "goal", "met")
    compared("transform / floor", floor / seconds["transform"], 0.9)
    compared("transform / ONNX Runtime", seconds["ONNX Runtime"] / seconds["transform"], 1)


def likelihood(given):
    draws, n_rows = 5000, given.likelihood_rows
    X = (pictures(2000) > 127).astype(np.uint8)
    model = VariationalAutoencoder(16, likelihood="bernoulli", max_epochs=1, **SHAPE).fit(X)
    floats = X[:n_rows].astype(np.float32)
    peer = peers.pythae(X.astype(np.float32), epochs=1, variational=True, cross_entropy=True)
    products = Products()
    ways = {
        "ours": lambda: model.log_likelihood(X[:n_rows], draws),
        "pythae": lambda: peers.log_likelihood(peer, floats, draws),
        "products": products,
    }
    seconds = best(turns(ways, given.rounds))
    floor = products.seconds(IN_HALF * n_rows * draws, seconds["products"])
    table("what", f"rows of {draws} draws a CPU-second", "of the floor")
    for key, what in (("ours", "log_likelihood"), ("pythae", f"{peers.PYTHAE} get_nll")):
        row(what, f"{n_rows / seconds[key]:.2f}", f"{floor / seconds[key]:.2f}")
    row("floor: the decoder's multiplications alone", f"{n_rows / floor:.2f}", "1")
    few, many = (float(run(LIKELIHOOD, count)) for count in (draws, 4 * draws))
    table("ratio", "measured", "goal", "met")
    compared("log_likelihood / pythae's, rates", seconds["pythae"] / seconds["ours"], 5)
    compared("log_likelihood / floor", floor / seconds["ours"], 0.75)
    compared("peak memory, 20 000 draws / 5 000", many / few, 1.05, at_most=True)


PEAK = r"""
import re, sys
from pathlib import Path
import numpy as np
# Linux hands a process its parent's ru_maxrss; this is its own.
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
"""
LIKELIHOOD = (
    PEAK
    + """
from narrows import VariationalAutoencoder
X = (np.random.default_rng(0).random((2000, 784)) > 0.5).astype(np.uint8)
model = VariationalAutoencoder(16, hidden_layer_sizes=(512,), max_epochs=1, random_state=0).fit(X)
model.log_likelihood(X[:4], int(sys.argv[1]))
print(peak())
"""
)
TRAINING = (
    PEAK
    + """
from narrows import Autoencoder
X = np.random.default_rng(0).integers(0, 256, (int(sys.argv[1]), 28, 28), np.uint8)
model = Autoencoder(16, max_epochs=1, random_state=0).fit(X)
weights = sum(w.nbytes for half in (model.encoder_, model.decoder_) for w in half.parameters())
print(X.nbytes / 2**20, weights / 2**20, peak())
"""
)
IMPORTS = PEAK + "import narrows.models, narrows.training.loop\nprint(peak())"


def run(script, *words):
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.stdout


def memory(given):
    imported = float(run(IMPORTS))
    table("rows", "array, MiB", "weights, MiB", "imports, MiB", "peak, MiB", "beyond these, MiB")
    by_rows = []
    for rows in (given.memory_rows // 2, given.memory_rows):
        array, weights, peak = map(float, run(TRAINING, rows).split())
        by_rows.append(peak - array - weights - imported)
        row(rows, *(f"{n:.0f}" for n in (array, weights, imported, peak, by_rows[-1])))
    table("what", "measured", "goal", "met")
    half, whole = (2**20 * beyond for beyond in by_rows)
    compared("MB beyond array, model and imports", whole / 1e6, 200, at_most=True)
    with_imports = (whole + imported * 2**20) / 1e6
    compared("MB beyond array and model, imports included", with_imports, 200, at_most=True)
    each = (whole - half) / (given.memory_rows / 2)
    row("bytes a row more takes beyond its picture", f"{each:.3g}", "", "")


def startup(given):
    def of_children(*command):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    ways = {
        "narrows --help": ("-m", "narrows", "--help"),
        "import narrows": ("-c", "import narrows"),
        "Python alone": ("-c", "pass"),
    }
    seconds = {
        name: min(of_children(*command) for _ in range(2 * given.rounds))
        for name, command in ways.items()
    }
    table("CPU-seconds", "measured", "goal", "met")
    compared("narrows --help", seconds["narrows --help"], 0.12, at_most=True)
    compared("import narrows", seconds["import narrows"], 0.1, at_most=True)
    row("Python alone", f"{seconds['Python alone']:.3g}", "", "")
    script = "import sys, narrows, narrows.cli.main\nprint('torch' in sys.modules)"
    print(f"\ntorch imported by either: {run(script).strip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=70_000, help="to encode")
    parser.add_argument("--likelihood-rows", type=int, default=20)
    parser.add_argument("--memory-rows", type=int, default=500_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = {
        "encoding": encoding, "likelihood": likelihood, "memory": memory, "startup": startup,
    }  # fmt: skip
    for part in given.parts or PARTS:
        print(f"\n## {part}")
        parts[part](given)


if __name__ == "__main__":
    main()
