"""Groups of near-identical pictures, beside brute force; the seed of everything random is 0."""

import csv
from pathlib import Path

import numpy as np
import pytest
from cli_kit import Run
from libraries import draw
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage

from narrows import Library, errors
from narrows.library.duplicates import find, group, suggest_threshold

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("quantile", [0.01, 0.1, 0.5])
def test_groups_are_those_of_single_linkage(metric, quantile):
    codes = RANDOM.normal(size=(150, 2)).astype(np.float32)
    codes[100:130] = codes[3]
    tree = linkage(codes.astype(np.float64), "single", metric)
    threshold = float(np.quantile(tree[50:, 2], quantile))
    truth = fcluster(tree, threshold, "distance")
    labels, used = group(codes, threshold, metric=metric)
    assert used == threshold
    alone = np.bincount(truth)[truth] == 1
    assert ((labels == -1) == alone).all()
    kept = labels >= 0
    assert len(set(zip(truth[kept], labels[kept], strict=True))) == labels.max() + 1
    assert len(set(truth[kept])) == labels.max() + 1
    sizes = np.bincount(labels[kept])
    assert (np.diff(sizes) <= 0).all()


def test_the_suggestion_finds_planted_copies_and_nothing_else():
    codes = RANDOM.normal(size=(400, 16))
    near = codes[:20] + RANDOM.normal(0, 0.02, (20, 16))
    labels, _ = group(np.concatenate([codes, near, codes[:5]]))
    assert labels.max() + 1 == 20
    assert (labels[:20] == labels[400:420]).all()
    assert (labels[20:400] == -1).all()
    assert (group(codes)[0] == -1).all()


def test_without_a_gap_only_rounding_counts_as_the_same():
    assert suggest_threshold([0.6, 0.7, 0.8], usual=1.0) == pytest.approx(1e-4)


def add_copies(library, pictures, numbers):
    """Add the same pictures as files of other kinds: the same file again would add nothing."""
    folder = library.path.parent / "copies"
    folder.mkdir()
    for name, number in numbers.items():
        Image.fromarray(pictures[number]).save(folder / name)
    library.add([folder / name for name in numbers], names=list(numbers))


def test_a_librarys_copies_are_found_and_nothing_is_changed(library, pictures):
    add_copies(library, pictures, {"a.bmp": 4, "b.bmp": 9, "c.tiff": 4})
    found = find(library)
    assert [[match.id for match in each] for each in found.groups] == [[4, 60, 62], [9, 61]]
    assert [match.distance < 1e-3 for match in found.groups[0]] == [True] * 3
    assert len(Library.open(library.path)) == 63


def test_the_command_prints_and_writes_the_groups(library, pictures, run: Run):
    add_copies(library, pictures, {"a, copy.bmp": 4})
    answered = run("duplicates", str(library.path), "--json").json
    assert [[one["path"] for one in each] for each in answered["groups"]] == [["4", "a, copy.bmp"]]
    assert run("duplicates", str(library.path), "-o", "found.csv").code == 0
    rows = list(csv.DictReader(Path("found.csv").read_text("utf-8").splitlines()))
    assert [(row["group"], row["id"], row["path"]) for row in rows] == [
        ("0", "4", "4"),
        ("0", "60", "a, copy.bmp"),
    ]
    assert run("duplicates", str(library.path), "-o", "found.csv").code == 5
    assert run("duplicates", str(library.path), "-o", "found.txt").code == 2
    assert run("duplicates", str(library.path), "--threshold", "-1").code == 2


def test_what_cannot_be_grouped_is_refused(tmp_path, model):
    empty = Library.create(tmp_path / "empty.lance", model=model)
    with pytest.raises(errors.LibraryError, match="is empty"):
        find(empty)
    with pytest.raises(errors.ParameterError, match="threshold='often'"):
        group(draw(3).reshape(3, -1), "often")
    assert group([[1.0, 2.0]])[0].tolist() == [-1]
