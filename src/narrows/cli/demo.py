"""``narrows demo`` and ``checks``: trials of an installation."""

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import click

from narrows.cli import options
from narrows.cli.console import answered, note, progress, table, training
from narrows.cli.exchange import load_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from narrows import Autoencoder, Library
    from narrows.datasets import Dataset
    from narrows.library import Match


MODEL, LIBRARY, QUERIES, SHEET = "model", "pictures.lance", "queries", "matches.png"
# This file marks the folder of a demo, whose files the next demo may replace.
RESULTS = "results.json"
_NAMES = (MODEL, LIBRARY, QUERIES, SHEET, RESULTS)

# Codes have an eighth of the 64 pixels of digits, and a twenty-fifth of the 784 of the others. More
# than fifty epochs do not help the digits, which are few.
PARAMETERS: dict[str, dict[str, Any]] = {
    "digits": {"n_components": 8, "max_epochs": 50},
    "mnist": {"n_components": 32},
    "fashion-mnist": {"n_components": 32},
}
_N_QUERIES, _K = 8, 5
# The figures of a check, and whether they are right.
Outcome = tuple[str, bool]


@options.verb("demo")
@click.option(
    "--data",
    type=click.Choice(list(PARAMETERS)),
    default="digits",
    help="Digits come with scikit-learn; the others are looked for, or downloaded.",
)
@click.option(
    "-o",
    "--to",
    type=options.PATH,
    default="narrows-demo",
    help="The folder of the results; those of an earlier demo are replaced.",
)
def demo(*, data: str, to: Path) -> None:
    """Train, compare with PCA and match pictures of a well-known data set."""
    start = time.monotonic()
    with _claimed(to, data):
        results, n_pictures = _run(to, data)
        results["seconds"] = time.monotonic() - start
        _write_json(to / RESULTS, results)
    if not answered({"output": to, **results}):
        _print_scores(to, n_pictures, results)


def _run(to: Path, data: str) -> tuple[dict[str, Any], int]:
    """Train, compare and match; return the figures, and the number of pictures in the library."""
    from narrows import Autoencoder, datasets
    from narrows.evaluation import compare_with_pca

    pictures = datasets.load(data)
    n, height, width = pictures.X_train.shape[:3]
    model = Autoencoder(**PARAMETERS[data], random_state=0)
    codes = f"codes of {model.n_components} numbers"
    note(f"{data}: learning {codes} from {n} pictures of {height} x {width}")
    with training():
        model.fit(pictures.X_train)
    if model.history_.ended == "interrupted":
        raise click.Abort
    model.save(to / MODEL, overwrite=True)
    note("comparing with PCA")
    scores = compare_with_pca(
        model, pictures.X_train, pictures.X_test, pictures.y_train, pictures.y_test
    )
    library = _index(to, model, pictures)
    _match(to, model, library, pictures)
    results = {
        "demo": data,
        "n_components": model.n_components,
        "test_pictures": len(pictures.X_test),
        "scores": [asdict(score) for score in scores],
    }
    return results, len(library)


@contextmanager
def _claimed(folder: Path, data: str) -> Iterator[None]:
    """Mark the folder as that of a demo, unless it has files of such names that are not a demo's.

    If the block fails, new files are removed; those of an earlier demo are left to the next one.
    """
    from narrows.atomic import check_output, explain_os_errors
    from narrows.errors import OutputExistsError

    check_output(folder, overwrite=True)
    with explain_os_errors(folder):
        existed = folder.exists()
        is_demo = folder.is_dir() and _is_demo(folder / RESULTS)
        taken = existed and (not folder.is_dir() or any((folder / n).exists() for n in _NAMES))
        if taken and not is_demo:
            raise OutputExistsError(
                f"'{folder}' exists and is not a demo's; choose another folder (-o)"
            )
        folder.mkdir(exist_ok=True)
    try:
        _write_json(folder / RESULTS, {"demo": data})
        yield
    except BaseException:
        if not is_demo:
            for name in _NAMES:
                shutil.rmtree(folder / name, ignore_errors=True)
                if (folder / name).is_file():
                    (folder / name).unlink()
            if not existed:
                folder.rmdir()
        raise


def _is_demo(path: Path) -> bool:
    from narrows.containment import parse_json, read_regular

    try:
        found = parse_json(read_regular(path, 2**20))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "demo" in found


def _write_json(path: Path, record: dict[str, Any]) -> None:
    from narrows.atomic import atomic_file

    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _index(folder: Path, model: "Autoencoder", pictures: "Dataset") -> "Library":
    from narrows import Library

    # The label is the folder in the name, as if pictures were sorted into folders by class.
    names = [f"{label}/{row:05d}" for row, label in enumerate(pictures.y_train)]
    with progress("indexing") as advance:
        library, _ = Library.build(
            folder / LIBRARY,
            pictures.X_train,
            model=model,
            names=names,
            overwrite=True,
            progress=advance,
        )
    return library


def _match(folder: Path, model: "Autoencoder", library: "Library", pictures: "Dataset") -> None:
    import numpy as np

    from narrows.atomic import atomic_file
    from narrows.data.files import write
    from narrows.evaluation import contact_sheet

    # The first picture of each of the first classes.
    rows = np.unique(pictures.y_test, return_index=True)[1][:_N_QUERIES]
    queries, names = pictures.X_test[rows], [str(pictures.y_test[row]) for row in rows]
    write(folder / QUERIES, queries, names=names, overwrite=True)
    figure = contact_sheet(
        queries,
        model.reconstruct(queries),
        cast("list[list[Match]]", library.match(queries, _K)),
        names=names,
        label=lambda name: name.split("/")[0],
        title="Pictures never seen before, and the nearest in the library",
    )
    with atomic_file(folder / SHEET, overwrite=True) as temporary:
        figure.savefig(temporary, format="png")


def _print_scores(folder: Path, n_pictures: int, results: dict[str, Any]) -> None:
    columns = ("method", "reconstruction_error", "neighbor_accuracy")
    rows = [[score[column] for column in columns] for score in results["scores"]]
    table(
        ["method", "test error", "5-nearest-neighbour accuracy"],
        [(method, f"{error:.5f}", f"{accuracy:.4f}") for method, error, accuracy in rows],
        title=f"Codes of {results['n_components']} numbers, {results['test_pictures']} test "
        "pictures",
    )
    narrows, place = _command(), shlex.quote(str(folder))
    click.echo(
        f"""
Test error: mean squared error of restored pixels, black 0 and white 1.
Accuracy: of a classifier that sees the codes alone.

Done in {results["seconds"]:.0f} s. In {folder}:
  {SHEET:<16} eight pictures never seen before and their nearest; look at it
  {MODEL:<16} the trained model
  {LIBRARY:<16} the library of its {n_pictures} training pictures
  {QUERIES:<16} the eight pictures
  {RESULTS:<16} the figures above

Try next:
  {narrows} match {place}/{LIBRARY} {place}/{QUERIES}/0.png -k 5
  {narrows} reconstruct {place}/{MODEL} {place}/{QUERIES} -o {place}/restored --overwrite
  {narrows} info {place}/{MODEL}
  {narrows} train --help"""
    )


def _command() -> str:
    """Return the command that runs this program: ``narrows`` need not be on the PATH."""
    script, found = Path(sys.argv[0]), shutil.which("narrows")
    if found is not None and Path(found).resolve() == script.resolve():
        return "narrows"
    return f"{shlex.quote(sys.executable)} -m narrows"


@options.verb("checks")
def checks() -> int:
    """Test this installation against known answers.

    Trains tiny models, saves, loads and matches; takes a few seconds. The exit code is 1 if a
    check fails.
    """
    environment = _environment()
    results = [(name, *_outcome(check)) for name, check in CHECKS.items()]
    ok = all(passed for _, _, passed in results)
    checks = [
        {"check": name, "ok": passed, "figures": figures} for name, figures, passed in results
    ]
    if answered({"ok": ok, "environment": environment, "checks": checks}):
        return 0 if ok else 1
    table(["installed", ""], list(environment.items()))
    click.echo()
    table(
        ["check", "result", "figures"],
        [(name, "ok" if passed else "FAILED", figures) for name, figures, passed in results],
    )
    if not ok:
        note("narrows: some checks failed; results of this installation are not to be trusted")
    return 0 if ok else 1


def _environment() -> dict[str, str]:
    import os
    import platform
    from importlib.metadata import version

    import torch

    from narrows.training.loop import choose_device

    packages = ("narrows", "torch", "numpy", "scikit-learn", "pylance", "pyarrow", "pillow")
    return {
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "device": str(choose_device("auto")),
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors",
        "OpenMP waits": os.environ.get("OMP_WAIT_POLICY", "as it likes").lower(),
    }


def _outcome(check: Callable[[], Outcome]) -> Outcome:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  whatever breaks a check is its result
        return f"{type(error).__name__}: {' '.join(str(error).split())}", False


def _rows() -> "NDArray[np.float32]":
    """Make 800 rows of 12 features that vary in 4 directions and a little in all."""
    import numpy as np

    generator = np.random.default_rng(0)
    mixed = generator.normal(size=(800, 4)) @ generator.normal(size=(4, 12))
    return (mixed + 0.3 * generator.normal(size=(800, 12))).astype(np.float32)


def _pictures() -> "tuple[NDArray[np.uint8], Autoencoder]":
    """Return pictures, and a model that has learned from them."""
    from narrows import Autoencoder, datasets

    X = datasets.load("digits").X_test[:64]
    return X, Autoencoder(n_components=6, max_epochs=2, random_state=0).fit(X)


def _linear_against_pca() -> Outcome:
    import numpy as np

    from narrows import Autoencoder
    from narrows.evaluation import fit_pca

    X, X_test = np.split(_rows(), 2)
    model = Autoencoder(
        n_components=4,
        hidden_layer_sizes=(),
        activation="identity",
        max_epochs=50,
        learning_rate=0.1,
        early_stopping=False,
        random_state=0,
    ).fit(X)
    (best,) = fit_pca(X, 4).mean_squared_errors(X_test, [4])
    own = np.mean((model.reconstruct(X_test) - X_test) ** 2)
    return f"test error {own:.5f}, PCA {best:.5f} (within 1 %)", bool(own <= 1.01 * best)


def _save_load_transform() -> Outcome:
    X, model = _pictures()
    with TemporaryDirectory() as folder:
        again = load_for(model.save(Path(folder, "model")), "transform")
    return _equal_bits(model.transform(X), again.transform(X))


def _decoder_alone() -> Outcome:
    X, model = _pictures()
    codes = model.transform(X)
    with TemporaryDirectory() as folder:
        decoder = load_for(model.split()[1].save(Path(folder, "decoder")), "inverse_transform")
    return _equal_bits(model.inverse_transform(codes), decoder.inverse_transform(codes))


def _own_picture_first() -> Outcome:
    from narrows import Library

    X, model = _pictures()
    names = [str(i) for i in range(len(X))]
    with TemporaryDirectory() as folder:
        library = Library.create(Path(folder, "pictures.lance"), model=model)
        library.add(X, names=names)
        matches = cast("list[list[Match]]", library.match(X, 1))
        found = [nearest.path for (nearest,) in matches]
    first = sum(name == path for name, path in zip(names, found, strict=True))
    return f"{first} of {len(X)} pictures find themselves", first == len(X)


def _equal_bits(values: "NDArray[Any]", others: "NDArray[Any]") -> Outcome:
    differing = int((values.view("u4") != others.view("u4")).sum())
    return f"{differing} of {values.size} numbers differ", differing == 0


CHECKS: dict[str, Callable[[], Outcome]] = {
    "a linear autoencoder is as good as PCA": _linear_against_pca,
    "save, load, encode: the same bits": _save_load_transform,
    "the decoder alone: the same bits": _decoder_alone,
    "a library finds each of its own pictures first": _own_picture_first,
}
