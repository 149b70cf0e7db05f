"""Maps as HTML pages; every random seed is 0."""

import base64
import json
import re
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from narrows.errors import DataError
from narrows.evaluation import map_page

POINTS = np.random.default_rng(0).normal(size=(50, 2))


def contents(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def numbers(text: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), kind)


def test_a_page_holds_the_points_and_their_labels() -> None:
    labels = np.where(POINTS[:, 0] > 0, "right", "left")
    data = contents(map_page(POINTS, title="A map", labels=labels, names=[*map(str, range(50))]))
    places = numbers(data["places"], "<u2").reshape(50, 2)
    for axis in (0, 1):
        assert np.corrcoef(places[:, axis], POINTS[:, axis])[0, 1] > 1 - 1e-9
    spans, truth = np.ptp(places.astype(float), axis=0), np.ptp(POINTS, axis=0)
    assert spans[0] / spans[1] == pytest.approx(truth[0] / truth[1], rel=1e-3)
    groups = numbers(data["groups"], "<u2")
    assert [data["classes"][group] for group in groups] == labels.tolist()
    assert data["counts"] == [(labels == "left").sum(), (labels == "right").sum()]
    assert data["names"][49] == "49"


def test_values_are_shaded_without_the_extreme_ones() -> None:
    values = np.r_[np.linspace(0, 1, 49), 1000]
    data = contents(map_page(POINTS, title="A map", values=values, value="error"))
    assert (np.diff(numbers(data["shades"], "u1").astype(int)) >= 0).all()
    assert data["ends"][0] == pytest.approx(np.quantile(values, 0.01))
    assert data["values"][49] == 1000


def test_pictures_come_along_while_they_stay_small() -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (50, 12, 10), np.uint8)
    sheet = contents(map_page(POINTS, title="A map", pictures=pictures))["sheet"]
    assert sheet["source"].startswith("data:image/jpeg;base64,")
    assert sheet["columns"] ** 2 >= 50
    noise = np.random.default_rng(0).integers(0, 255, (40_000, 16, 16), np.uint8)
    many = map_page(np.zeros((40_000, 2)), title="A map", pictures=noise)
    assert len(many) < 5e6
    assert "sheet" not in contents(many)


def test_the_largest_page_stays_below_5_mb() -> None:
    n = 200_001
    points = np.random.default_rng(0).normal(size=(n, 2))
    page = map_page(points, title="A map", values=np.arange(n), names=["a/long/name.png"] * n)
    assert len(page) < 5e6
    assert "200,000 of them are drawn" in page


def test_texts_of_strangers_stay_texts() -> None:
    evil = "</script><script>alert(1)</script>"
    page = map_page(POINTS, title=evil, summary=evil, labels=[evil] * 25 + ["b"] * 25)
    assert evil not in page
    assert contents(page)["classes"] == [evil, "b"]


def test_a_page_loads_nothing_and_runs_its_own_script_alone() -> None:
    page = map_page(POINTS, title="A map")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(sha256(scripts[0].encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    assert f"{policy}'sha256-{digest}'" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"labels": ["a"]}, r"labels have shape \(1,\)"),
        ({"values": [1.0]}, "1 values were given for 50 points"),
        ({"names": ["a"]}, "1 names"),
        ({"pictures": np.zeros((3, 8, 8), np.uint8)}, "3 pictures"),
        ({"values": [np.nan] * 50}, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        map_page(POINTS, title="A map", **given)
    with pytest.raises(DataError, match="two numbers"):
        map_page(np.zeros((3, 3)), title="A map")
