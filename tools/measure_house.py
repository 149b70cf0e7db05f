"""Count what the structure of src/narrows costs its readers.

    python tools/measure_house.py [--static]

Files of Python; lines of code without docstrings, comments and blank lines; circles of imports
between the files of a part, and files in them; moves from one file of src/narrows to another while
something runs: a warm match of an array, training until its first step, and one batch of it. A
move is a call, by a function in one file, of a function in another. --static leaves the moves out.
"""

import argparse
import ast
import io
import sys
import tokenize
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "narrows"
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def lines_of_code(text):
    """Count the lines of a file that hold code."""
    described = set()
    for node in ast.walk(ast.parse(text)):
        has_words = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if has_words and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            described.update(range(first.lineno, first.end_lineno + 1))
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - described)


def module_of(file):
    """Return the dotted name of a file."""
    names = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def arrows_inside(files):
    """Return which modules import which others of their part when they are imported."""
    modules = {module_of(file) for file in files}
    found = defaultdict(set)
    for file in files:
        own = module_of(file)
        tree = ast.parse(file.read_text("utf-8"))
        for node in at_import(tree):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    found[own].add(whole if whole in modules else node.module)
            elif isinstance(node, ast.Import):
                found[own].update(alias.name for alias in node.names)
    part = {module: module.split(".")[1] for module in modules if "." in module}
    return {
        own: {one for one in there if one != own and part.get(one) == part[own]}
        for own, there in found.items()
        if own in part
    }


def at_import(tree):
    """Yield what is executed when a module is imported, type checking included."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.stmt)]


def circles(arrows):
    """Return the sets of modules that import one another in a circle (Tarjan 1972)."""
    index, low, path, found = {}, {}, [], []

    def visit(module):
        index[module] = low[module] = len(index)
        path.append(module)
        for other in arrows.get(module, ()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in path:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            place = path.index(module)
            if len(path) - place > 1:
                found.append(sorted(path[place:]))
            del path[place:]

    for module in sorted(arrows):
        if module not in index:
            visit(module)
    return found


class Moves:
    """Counts the calls from one file of Narrows into another, and the files, while it is entered.

    Calls through other libraries count as calls of whoever called these.
    """

    def __init__(self):
        self.count, self.files = 0, set()

    def __enter__(self):
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _called(self, frame, event, _):
        if event != "call":
            return
        to = frame.f_code.co_filename
        if not to.startswith(str(PACKAGE)):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(str(PACKAGE)):
            caller = caller.f_back
        self.files.add(to)
        if caller is not None and caller.f_code.co_filename != to:
            self.count += 1


def moves():
    """Yield what was run, the moves that it made and the files that they were between."""
    import tempfile

    import numpy as np
    import torch

    from narrows import Autoencoder, Library

    X = np.random.default_rng(0).integers(0, 256, (256, 8, 8), np.uint8)
    model = Autoencoder(4, max_epochs=1, random_state=0).fit(X)
    with tempfile.TemporaryDirectory() as folder:
        library = Library.build(f"{folder}/library", X, model=model)[0]
        library.match(X[0])
        with Moves() as match:
            library.match(X[0])
    yield "warm match(array)", match
    steps = []
    real = torch.optim.AdamW.step

    def step(self, *given, **named):
        steps.append((whole.count, len(whole.files)))
        return real(self, *given, **named)

    torch.optim.AdamW.step = step
    try:
        with Moves() as whole:
            Autoencoder(4, max_epochs=2, random_state=0, batch_size=32).fit(X)
    finally:
        torch.optim.AdamW.step = real
    first, batch = Moves(), Moves()
    first.count, first.files = steps[0][0], range(steps[0][1])
    batch.count, batch.files = steps[2][0] - steps[1][0], range(steps[2][1])
    yield "fit to the first step", first
    yield "one batch", batch


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--static", action="store_true")
    given = parser.parse_args()
    files = sorted(PACKAGE.rglob("*.py"))
    found = circles(arrows_inside(files))
    print("| what | figure |\n| --- | --- |")
    print(f"| files | {len(files)} |")
    print(f"| lines of code | {sum(lines_of_code(f.read_text('utf-8')) for f in files)} |")
    print(f"| circles inside parts | {len(found)}, of {sum(map(len, found))} files |")
    for one in found:
        print(f"| a circle | {', '.join(one)} |")
    if not given.static:
        for name, one in moves():
            print(f"| moves between files, {name} | {one.count}, between {len(one.files)} files |")


if __name__ == "__main__":
    main()
