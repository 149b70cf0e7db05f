"""Files of every format version: their values are read unchanged, or they are refused."""

import json

import pytest
from formats import FOLDER, REFUSED, compare, samples
from libraries import one_line

from narrows import storage
from narrows.library import folder, ivf_build


@pytest.mark.parametrize("sample", samples(), ids=lambda path: path.name)
def test_files_of_every_version_are_read_or_refused(sample, tmp_path):
    if sample.name in REFUSED:
        error, remedy = REFUSED[sample.name]
        with pytest.raises(error, match=remedy) as caught:
            compare(sample, tmp_path)
        assert len(one_line(caught)) <= 500
        return
    assert compare(sample, tmp_path) == []


def test_there_is_a_sample_of_every_version():
    """Every new version needs one, made as the README in their folder says."""
    versions = {
        "model": storage.FORMAT_VERSION,
        "library": folder.FORMAT_VERSION,
        "index": ivf_build.FORMAT_VERSION,
    }
    for kind, latest in versions.items():
        for version in range(1, latest + 1):
            assert (FOLDER / f"{kind}-v{version}").is_dir(), f"{kind} version {version}"
    library = FOLDER / f"library-v{folder.FORMAT_VERSION}" / "pictures.lance" / "library.json"
    assert json.loads(library.read_text())["format_version"] == folder.FORMAT_VERSION
    model = FOLDER / f"model-v{storage.FORMAT_VERSION}" / "model" / "narrows.json"
    assert json.loads(model.read_text())["format_version"] == storage.FORMAT_VERSION
