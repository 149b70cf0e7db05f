"""Reports on models that take noise off pictures: beside classic denoisers."""

import numpy as np
import pytest

from narrows import DenoisingAutoencoder
from narrows.evaluation import make_report, restore_by_classic
from narrows.evaluation.classics import CLASSICS

SEED = 0
Y, X = np.mgrid[:16, :18]
WAVES = np.stack(
    [128 + 90 * np.sin(X / p) * np.cos(Y / (p + 3)) for p in np.linspace(4, 20, 24)]
).astype(np.uint8)


@pytest.fixture(autouse=True)
def one_classic(monkeypatch):
    monkeypatch.setattr(
        "narrows.evaluation.beside.installed_classics",
        lambda: (CLASSICS[:1], {"BM3D": "pip install bm3d"}),
    )


def reported(model):
    return make_report(model.fit(WAVES[::2]), WAVES[1::2], random_state=SEED)


def test_a_report_names_the_better_of_model_and_classics():
    """The model learned next to nothing in one step, and total variation knows pictures."""
    model = DenoisingAutoencoder(4, corruption_level=0.1, max_epochs=1, random_state=SEED)
    report = reported(model)
    scores = report.figures.classics
    assert scores.n == 12
    assert scores.psnr["noisy"] == pytest.approx(20, abs=0.2)  # -20 log10 0.1
    assert scores.best == "total variation"
    rng = np.random.default_rng(SEED)
    truth = []
    for clean in WAVES[1::2].astype(float):
        noisy = clean + rng.normal(0, 25.5, clean.shape)
        made = restore_by_classic("total variation", noisy, 25.5, clean=clean).pixels
        truth.append(10 * np.log10(255**2 / np.mean((made - clean) ** 2)))
    assert scores.psnr["total variation"] == pytest.approx(np.mean(truth), abs=0.5)
    finding = next(found for found in report.verdict if found.part == "classics")
    assert finding.rule == "classic_is_better"
    assert f"{scores.psnr['model']:.1f} dB beside" in finding.text
    assert report.as_json()["figures"]["classics"]["missing"] == {"BM3D": "pip install bm3d"}
    part = next(part for part in report.parts if part.name == "classics")
    assert [line[0] for line in part.table] == ["version", "noisy", "model", "total variation"]
    assert part.pictures[0].png.startswith(b"\x89PNG")


def test_a_better_model_is_named(monkeypatch):
    monkeypatch.setattr(DenoisingAutoencoder, "reconstruct", lambda _, X: np.full_like(X, 128.0))
    flat = np.full_like(WAVES, 128)
    flat[:, 0, 0] += np.arange(24, dtype=np.uint8) % 3
    model = DenoisingAutoencoder(4, corruption_level=0.1, max_epochs=1, random_state=SEED)
    report = make_report(model.fit(flat[::2]), flat[1::2], random_state=SEED)
    assert "denoises" in [finding.rule for finding in report.verdict]


def test_other_models_have_no_such_part():
    model = DenoisingAutoencoder(4, corruption="masking", max_epochs=1, random_state=SEED)
    report = reported(model)
    assert report.figures.classics is None
    assert "classics" not in [finding.part for finding in report.verdict]
