"""Count what the structure of src/narrows costs its readers.

    python tools/measure_house.py [--static] [--calls]

Files of Python; lines of code without docstrings, comments and blank lines; a circle of imports
between the files of a part, if there is one; moves from one file of src/narrows to another while
something runs: a warm match of an array, training until its first step, and one batch of it. A
move is a call, by a function in one file, of a function in another.
"""

import argparse
import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
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
    """Return which modules import which others of their part, within functions too."""
    modules = {module_of(file) for file in files}
    found = defaultdict(set)
    for file in files:
        own = module_of(file)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found[own] |= (whole & modules) or {node.module}
            elif isinstance(node, ast.Import):
                found[own] |= {alias.name for alias in node.names}
    part = {module: module.split(".")[1] for module in modules if "." in module}
    return {
        own: {one for one in there if one != own and part.get(one) == part[own]}
        for own, there in found.items()
        if own in part
    }


def circle(arrows):
    """Return modules that import one another in a circle, or none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1][:-1]
    return []


class Moves:
    """Counts the calls from one file of Narrows into another while it is entered.

    Calls through other libraries count as calls by the function that called these.
    """

    def __init__(self):
        self.calls = Counter()

    def __enter__(self):
        sys.setprofile(self._called)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _called(self, frame, event, _):
        if event != "call" or not _is_own(frame):
            return
        caller = frame.f_back
        while caller is not None and not _is_own(caller):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_filename != frame.f_code.co_filename:
            self.calls[f"{_name(caller)} -> {_name(frame)}"] += 1


def _is_own(frame):
    return frame.f_code.co_filename.startswith(str(PACKAGE))


def _name(frame):
    return f"{Path(frame.f_code.co_filename).relative_to(PACKAGE)}:{frame.f_code.co_name}"


def moves():
    """Yield what was run, and its calls from file to file with their numbers."""
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
    yield "warm match(array)", match.calls
    steps = []
    real = torch.optim.AdamW.step

    def step(self, *given, **named):
        steps.append(whole.calls.copy())
        return real(self, *given, **named)

    torch.optim.AdamW.step = step
    try:
        with Moves() as whole:
            Autoencoder(4, max_epochs=2, random_state=0, batch_size=32).fit(X)
    finally:
        torch.optim.AdamW.step = real
    yield "fit to the first step", steps[0]
    yield "one batch", steps[2] - steps[1]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--static", action="store_true", help="leave the moves out")
    parser.add_argument("--calls", action="store_true", help="list the calls that are moves")
    given = parser.parse_args()
    files = sorted(PACKAGE.rglob("*.py"))
    print("| what | figure |\n| --- | --- |")
    print(f"| files | {len(files)} |")
    print(f"| lines of code | {sum(lines_of_code(f.read_text('utf-8')) for f in files)} |")
    print(f"| a circle inside a part | {', '.join(circle(arrows_inside(files))) or 'none'} |")
    if not given.static:
        for name, one in moves():
            print(f"| moves between files, {name} | {sum(one.values())} |")
            if given.calls:
                print("\n".join(f"| {call} | {n} |" for call, n in one.most_common()))


if __name__ == "__main__":
    main()
