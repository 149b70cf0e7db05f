"""What other ways than a plain step with torch's fused Adam would gain, and what they cost.

    python -m benchmarks.steps [--rounds 5] [--batches 128 256 512]

CPU time of one thread, the best of rounds in which all take their turns; the network is
784-512-16-512-784 with rectifiers and a sigmoid at the end, the batches are floats in memory.

plain: autograd and fused Adam, what Narrows does.
compiled: the same by torch.compile, and after how many rows its seconds are earned back, which are
those of a process of its own, its compilers' included, that finds nothing compiled before.
derived: the backward pass written by hand, every product into memory kept from step to step, and
one fused Adam over all weights as one flat row. Its gradients are compared with autograd's first.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile

import torch
from torch import nn
from torch.nn import functional

from benchmarks.measuring import SEED, Products, best, row, table, turns
from benchmarks.peers import FEATURES, Plain
from benchmarks.training import MULTIPLICATIONS

STEPS = 20


class Derived:
    """The plain network's step, by hand: linear layers, a rectifier after every second one."""

    def __init__(self, network, batch_size):
        given = [p.detach() for p in network.parameters()]
        self.flat = nn.Parameter(torch.cat([p.flatten() for p in given]))
        self.flat.grad = torch.zeros_like(self.flat)
        self.weights = self._parts(self.flat.detach(), given)
        self.gradients = self._parts(self.flat.grad, given)
        widths = [FEATURES, *(len(bias) for bias in self.weights[1::2])]
        self.values = [torch.empty(batch_size, width) for width in widths]
        self.slopes = [torch.empty(batch_size, width) for width in widths]
        self.optimizer = torch.optim.Adam([self.flat], lr=1e-3, fused=True)

    @staticmethod
    def _parts(flat, like):
        parts = flat.split([p.numel() for p in like])
        return [part.view_as(p) for part, p in zip(parts, like, strict=True)]

    def gradient(self, x):
        layers = list(zip(self.weights[::2], self.weights[1::2], strict=True))
        h, into = x, [x]
        for i, (weight, bias) in enumerate(layers):
            h = torch.addmm(bias, h, weight.t(), out=self.values[i + 1])
            into.append(h.relu_() if i % 2 == 0 else h)
        y = into.pop().sigmoid_()
        slope = torch.sub(y, x, out=self.slopes[-1]).mul_(2 / len(x))
        slope = slope.mul_(y).mul_(y.neg_().add_(1))
        for i in reversed(range(len(layers))):
            torch.mm(slope.t(), into[i], out=self.gradients[2 * i])
            torch.sum(slope, 0, out=self.gradients[2 * i + 1])
            if i:
                slope = torch.mm(slope, layers[i][0], out=self.slopes[i])
                if i % 2:
                    slope.mul_(into[i] > 0)

    def __call__(self, x):
        self.gradient(x)
        self.optimizer.step()


def plain(network, loss, x):
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def step():
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()

    return step


def check(derived, network, x):
    loss = functional.mse_loss(network.decoder(network.mean(network.body(x))), x, reduction="sum")
    truth = torch.autograd.grad(loss / len(x), list(network.parameters()))
    derived.gradient(x)
    for ours, theirs in zip(derived.gradients, truth, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


COMPILING = """
import sys, torch
from benchmarks.peers import FEATURES, Plain
from benchmarks.steps import plain
torch.set_num_threads(1)
network = Plain()
loss = torch.compile(network.loss) if sys.argv[2] == "compiled" else network.loss
step = plain(network, loss, torch.rand(int(sys.argv[1]), FEATURES))
step()
"""


def compiling(batch_size):
    """Return the CPU-seconds that a first step takes more when it is compiled."""

    def first_step(how):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory() as cache:
            subprocess.run(
                [sys.executable, "-c", COMPILING, str(batch_size), how],
                check=True,
                env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return first_step("compiled") - first_step("plain")


def measure(batch_size, rounds):
    torch.manual_seed(SEED)
    x = torch.rand(batch_size, FEATURES)
    network, products = Plain(), Products()
    derived = Derived(network, batch_size)
    check(derived, network, x)
    compiled = plain(network, torch.compile(network.loss), x)
    compiled()
    spent = compiling(batch_size)
    steps = {
        "plain": plain(network, network.loss, x),
        "compiled": compiled,
        "derived": lambda: derived(x),
    }

    def several(step):
        return lambda: [step() for _ in range(STEPS)]

    ways = {name: several(step) for name, step in steps.items()} | {"products": products}
    seconds = best(turns(ways, rounds))
    floor = STEPS * batch_size * products.seconds(MULTIPLICATIONS, seconds.pop("products"))
    for name, taken in seconds.items():
        row(
            batch_size,
            name,
            f"{STEPS * batch_size / taken:.0f}",
            f"{floor / taken:.2f}",
            f"{seconds['plain'] / taken:.3f}",
        )
    saved = (seconds["plain"] - seconds["compiled"]) / (STEPS * batch_size)
    return batch_size, f"{spent:.1f}", f"{spent / saved:.3g}" if saved > 0 else "never"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256, 512])
    given = parser.parse_args()
    torch.set_num_threads(1)
    table("batch", "step", "rows a CPU-second", "of the floor", "of the plain step's rate")
    earned = [measure(batch_size, given.rounds) for batch_size in given.batches]
    table("batch", "CPU-seconds to compile", "earned back after rows")
    for cells in earned:
        row(*cells)


if __name__ == "__main__":
    main()
