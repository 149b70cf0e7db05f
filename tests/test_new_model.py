"""A new model is one file and one import line: everything else finds it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import narrows

SEED = 20240603

MODEL = '''
"""A model that is drawn to small codes."""


from narrows.models.base import BaseAutoencoder
from narrows.models.validation import check_number


class FrugalAutoencoder(BaseAutoencoder):
    """A network whose codes cost what they measure.

    Parameters
    ----------
    frugality : float, default=1
        Weight of the codes' squared length.
    {parameters}
    """

    frugality: float = 1.0

    def check_parameters(self):
        super().check_parameters()
        check_number("frugality", self.frugality, low=0)

    def penalties(self, objective, trace, generator):
        cost = self.frugality * (trace.code**2).sum() / len(trace.code)
        return {**super().penalties(objective, trace, generator), "cost": cost}
'''


COMMANDS = {
    "train": "train X.npy -o model --model frugal --n-components 3 --max-epochs 3 --frugality 2.5",
    "info": "info model --json",
    "refused": "train X.npy -o other --model frugal --frugality -1",
    "help": "train --model frugal --help",
    "unknown": "train X.npy -o other --model unheard",
}

# All in one process: starting one takes longer than what it does.
PROGRAM = """
import contextlib, io, json, sys
from narrows.cli.main import main
said = {}
for name, line in json.loads(sys.argv[1]).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line.split())
    said[name] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(said))
"""


def test_everything_finds_a_new_model(tmp_path):
    copy = tmp_path / "narrows"
    source = Path(narrows.__file__).parent
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "models" / "frugal.py").write_text(MODEL, encoding="utf-8")
    with (copy / "models" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write("\nfrom narrows.models.frugal import FrugalAutoencoder\n")
    np.save(tmp_path / "X.npy", np.random.default_rng(SEED).random((60, 6)))
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(run.stdout)
    code, out, err = said["train"]
    assert code == 0, err
    assert "FrugalAutoencoder" in out
    manifest = json.loads((tmp_path / "model" / "narrows.json").read_text("utf-8"))
    assert manifest["parameters"]["frugality"] == 2.5
    assert manifest["training"]["epochs"][0]["cost"] > 0
    code, out, err = said["info"]
    assert code == 0, err
    assert "FrugalAutoencoder" in json.dumps(json.loads(out))
    code, _, err = said["refused"]
    assert code == 2
    assert "frugality=-1.0" in err
    for option in ("--frugality", "squared length", "--n-components"):
        assert option in said["help"][1]
    code, _, err = said["unknown"]
    assert code == 2
    assert "frugal" in err
