"""How benchmarks measure: turn by turn, in CPU time, and what one core could do at best."""

import time

import numpy as np
import torch

SEED = 0


def turns(ways, rounds):
    """Return the CPU-seconds of every round of each way; all take turns, after a rehearsal."""
    seconds = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.process_time()
            way()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def best(seconds):
    """Return the least CPU-seconds of each way: what others on the machine do only adds to it."""
    return {name: min(taken) for name, taken in seconds.items()}


def table(*headings):
    print(f"\n| {' | '.join(headings)} |\n|{' --- |' * len(headings)}", flush=True)


def row(*cells):
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def compared(what, ratio, goal, *, at_most=False):
    """Print a ratio beside its goal, and whether it is met."""
    met = ratio <= goal if at_most else ratio >= goal
    sign = "≤" if at_most else "≥"
    row(what, f"{ratio:.3g}", f"{sign} {goal:g}", "yes" if met else "no")


class Products:
    """Matrix products as large as caches like them: what a core's multiplications peak at."""

    SIZE = 1024

    def __init__(self):
        generator = torch.Generator().manual_seed(SEED)
        self._a, self._b = torch.randn(2, self.SIZE, self.SIZE, generator=generator)
        self._product = torch.empty_like(self._a)

    def __call__(self):
        for _ in range(4):
            torch.mm(self._a, self._b, out=self._product)

    def seconds(self, multiplications, taken):
        """Tell the CPU-seconds of so many multiplications, from what one call took."""
        return multiplications * taken / (4 * self.SIZE**3)


def pictures(rows, features=784):
    """Return uint8 pictures: how long they take does not depend on what they show."""
    return np.random.default_rng(SEED).integers(0, 256, (rows, features), np.uint8)
