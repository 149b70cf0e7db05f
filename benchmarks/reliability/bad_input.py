"""Bad input: one line on standard error, the right exit code, and nothing changed.

    python -m benchmarks.reliability bad_input

Every verb is given data, models, libraries, outputs and options that it must refuse, in this
process; some cases are run again as processes of their own. After each case, the files below the
folder must be those of before, byte by byte, and the folder for temporary files must be empty.
Calls of the Python interface must end in a NarrowsError of one line. All cases are always tried.
"""

import hashlib
import io
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from benchmarks.reliability.outcome import SEED, Outcome
from narrows import MODELS, Autoencoder, Library, load, signals
from narrows.cli.main import main
from narrows.data import files
from narrows.errors import NarrowsError

LONGEST = 500
TABLE = np.random.default_rng(SEED).normal(5, 2, (40, 6)).round(3)
PIXELS = np.random.default_rng(SEED).integers(0, 256, (12, 12, 10), dtype=np.uint8)
LONG = "n" * 300
MANY = ",".join(f"{'column' * 20}{i}" for i in range(300))

TABLE_VERBS = (
    "train {} -o new",
    "encode tmodel {} -o new.npy",
    "reconstruct tmodel {} -o new.csv",
    "denoise tmodel {} -o new.csv",
    "index tmodel {} -o new",
    "match tlib {}",
    "map tmodel {} -o new.csv",
    "report tmodel {} -o new",
    "compare {} -o new",
    "depth {}",
)
BAD_TABLES = (
    "nan.npy", "infinite.npy", "empty.npy", "objects.npy", "claims.npy", "cut.npy", "foreign.npy",
    "cut.npz", "text.csv", "empty.csv", "nul.csv", "quotes.csv", "many.csv", "cut.csv.gz",
    "cut.parquet", "bytes.parquet", "cut.lance", "loop.npy", "pipe.npy", "nothing", "missing.npy",
    "\x1b[31m\n.npy", LONG,
)  # fmt: skip
PICTURE_VERBS = (
    "train {} -o new",
    "pack {} -o new.lance",
    "encode model {} -o new.npy",
    "reconstruct model {} -o new",
    "index model {} -o new",
    "match lib {}",
    "map model {} -o new.csv",
)
BAD_PICTURES = ("cut.png", "text.png", "crc.png", "some-bad", "mixed")
SOUND_VERBS = ("train {} -o new --window 64", "encode tmodel {} -o new.npy --signal")
BAD_SOUNDS = ("half.wav", "half.aiff", "half.mp3", "half.flac", "half.ogg", "text.wav")
MODEL_VERBS = (
    "encode {} photos -o new.npy",
    "decode {} codes.npy -o new",
    "reconstruct {} photos -o new",
    "index {} photos -o new",
    "map {} photos -o new.csv",
    "report {} photos -o new",
    "evaluate-matching {} photos",
    "split {} -o new new2",
    "export {} -o new.onnx",
    "info {}",
)
BAD_MODELS = {
    "missing": {3}, "nothing": {4}, "cut-model": {4}, "gone-model": {4}, "spoilt-model": {4},
    "foreign-model": {4}, "newer-model": {4}, "deep-model": {4}, "model/narrows.json": {3, 4},
}  # fmt: skip
LIBRARY_VERBS = (
    "match {} photos",
    "duplicates {}",
    "verify {}",
    "reencode {} model",
    "compact {}",
    "info {}",
    "serve {}",
)
# An empty folder is no library, and for "duplicates" a folder without pictures.
BAD_LIBRARIES = {
    "missing": {3}, "nothing": {4}, "spoilt-lib": {4}, "tableless-lib": {4}, "newer-lib": {4},
    "noise-lib": {4},
}  # fmt: skip
OUTPUT_VERBS = (
    "train table.csv -o {}",
    "encode model photos -o {}.npy",
    "encode model photos -o {}.csv",
    "decode model codes.npy -o {}",
    "reconstruct model photos -o {}",
    "index model photos -o {}",
    "map model photos -o {}.html",
    "report model photos -o {}",
    "compare table.csv -o {}",
    "match lib photos --save {}.png",
    "duplicates lib -o {}.csv",
    "pack photos -o {}.lance",
    "split model -o {} other",
    "export model --half encoder -o {}.onnx",
    "depth table.csv --save {}.png",
)
BAD_OUTPUTS = ("no/such/folder", "table.csv/below", LONG, "taken")
OPTIONS = (
    (2, "train photos -o new --n-components 0"),
    (2, "train photos -o new --n-components many"),
    (2, f"train photos -o new --n-components {'9' * 600}"),
    (2, "train photos -o new --learning-rate nan"),
    (2, "train photos -o new --learning-rate -1"),
    (2, f"train photos -o new --activation {LONG * 3}"),
    (2, "train photos -o new --hidden-layer-sizes 3,x"),
    (2, f"train photos -o new --hidden-layer-sizes {MANY}"),
    (2, "train photos -o new --model clever"),
    (2, "train photos -o new --image-size huge"),
    (2, "train photos -o new --device foo"),
    (2, "train photos -o new --random-state -1"),
    (2, "train photos -o new --max-epochs 0"),
    (2, "train photos -o new --batch-size 0"),
    (2, "train table.csv -o new --delimiter abc"),
    ({2, 3}, "train table.csv -o new --encoding klingon"),
    (2, "train table.npy -o new --array X"),
    (2, "train photos -o new --no-such-option"),
    (2, "train photos"),
    (2, "train"),
    (2, f"{LONG * 2}"),
    (2, "no-such-verb"),
    (2, "encode model photos -o new.xyz"),
    (2, "encode model photos"),
    (2, "decode tmodel tcodes.npy -o new"),
    (3, "decode model tcodes.npy -o new"),
    (3, "decode model infinite.npy -o new"),
    (3, "decode tmodel huge-codes.npy -o new.csv"),
    (3, "encode tmodel huge-rows.npy -o new.npy"),
    (3, "reconstruct tmodel huge-rows.npy -o new.csv"),
    (2, "match lib photos -k 0"),
    (2, "match lib photos --where 'no such ='"),
    (2, f"match lib photos --where '{'(' * 999}'"),
    (2, f"match lib photos --where 'path = {chr(27)}[31m'"),
    (2, "match lib photos --id 1"),
    (2, "match lib --id 999"),
    (2, "match lib --id 99999999999999999999"),
    (2, "match lib photos --save new.jpg"),
    (2, "map model photos -o new.xyz"),
    (2, "map model photos -o new.csv --method magic"),
    (2, "duplicates lib --threshold -1"),
    (2, "duplicates lib -o new.xyz"),
    (2, "split model -o new new"),
    (2, "export model --half encoder -o new.bin"),
    ({2, 3}, "evaluate-matching model photos --pairs missing.csv"),
    ({2, 3}, "evaluate-matching model photos --labels missing.csv"),
    ({2, 3}, f"index model photos -o new --metadata {LONG}.csv"),
    (3, "index model photos -o new --metadata nul.csv"),
    (2, "serve lib --port 99999"),
    (2, "compact lib --keep never"),
    (4, "reencode lib tlib"),
    (4, "index tmodel table.csv -o lib --add"),
)
AS_PROCESSES = 6  # one of so many bad inputs of each group is tried as a process too


def prepare() -> None:
    """Write sound data, and each way in which they can be bad."""
    from PIL import Image

    np.save("table.npy", TABLE)
    columns = ",".join("abcdef")
    lines = [columns, *(",".join(map(str, row)) for row in TABLE)]
    Path("table.csv").write_text("\n".join(lines))
    for number, pixels in enumerate(PIXELS):
        place = Path("photos", "left" if number % 2 else "right", f"{number:02}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    how = {"n_components": 3, "max_epochs": 1, "random_state": SEED}
    model = Autoencoder(**how).fit("photos")
    table = Autoencoder(**how).fit("table.csv")
    model.save("model")
    table.save("tmodel")
    Library.build("lib", "photos", model=model)
    Library.build("tlib", "table.csv", model=table)
    np.save("codes.npy", model.transform("photos"))
    np.save("tcodes.npy", np.zeros((4, 9)))
    np.save("huge-codes.npy", np.full((4, 3), 3e38))
    np.save("huge-rows.npy", np.full((4, 6), 3e38))
    bad_tables()
    bad_pictures()
    bad_sounds()
    bad_folders()
    for name in ("taken", "taken.npy", "taken.csv", "taken.html", "taken.png", "taken.onnx"):
        Path(name).write_text("not to be replaced")
    Path("taken.lance").mkdir()


def bad_tables() -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        spoilt = TABLE.copy()
        spoilt[7, 2] = value
        np.save(f"{name}.npy", spoilt)
    np.save("empty.npy", np.zeros((0, 6)))
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 6), }"
    claims = b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header.ljust(117) + b"\n" + bytes(48)
    Path("claims.npy").write_bytes(claims)
    Path("cut.npy").write_bytes(Path("table.npy").read_bytes()[:-100])
    Path("foreign.npy").write_text("no array")
    np.savez("whole.npz", X=TABLE)
    Path("cut.npz").write_bytes(Path("whole.npz").read_bytes()[:-50])
    Path("text.csv").write_text("a,b\n1,one\n")
    Path("empty.csv").write_bytes(b"")
    Path("nul.csv").write_bytes(b"a,b\n1,\0\n3,4\n")
    Path("quotes.csv").write_text('a,b\n1,"2\n3,4\n')
    Path("many.csv").write_text(MANY + "\n" + "\x1b[31mred," * 299 + "1\n" * 3)
    Path("cut.csv.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\3abc")
    parquet.write_table(pa.table({"a": TABLE[:, 0]}), "whole.parquet")
    Path("cut.parquet").write_bytes(Path("whole.parquet").read_bytes()[:-30])
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    parquet.write_table(pa.table({"a": [1.0], "b": column}), "bytes.parquet")
    files.write("whole.lance", TABLE)
    shutil.copytree("whole.lance", "cut.lance")
    for part in Path("cut.lance").rglob("*.lance"):
        part.write_bytes(part.read_bytes()[:-20])
    Path("loop.npy").symlink_to("loop.npy")
    os.mkfifo("pipe.npy")
    Path("nothing").mkdir()


def bad_pictures() -> None:
    data = Path("photos/right/00.png").read_bytes()
    Path("cut.png").write_bytes(data[: len(data) // 2])
    Path("text.png").write_text("not a picture")
    Path("crc.png").write_bytes(data[:20] + bytes([data[20] ^ 255]) + data[21:])
    shutil.copytree("photos", "some-bad")
    shutil.copy("cut.png", "some-bad/left/01.png")
    Path("mixed").mkdir()
    shutil.copy("table.npy", "mixed/a.npy")
    shutil.copy("whole.parquet", "mixed/b.parquet")


def bad_sounds() -> None:
    import soundfile

    wave = 0.4 * np.sin(np.arange(9000) / 9)
    for kind in ("wav", "aiff", "mp3", "flac", "ogg"):
        soundfile.write(f"half.{kind}", wave, 8000)
        data = Path(f"half.{kind}").read_bytes()
        Path(f"half.{kind}").write_bytes(data[: len(data) // 2])
    Path("text.wav").write_text("not a sound")


def bad_folders() -> None:
    for name in ("cut", "gone", "spoilt", "foreign", "newer", "deep"):
        shutil.copytree("model", f"{name}-model")
    weights = {name: next(Path(f"{name}-model").glob("encoder-*")) for name in ("cut", "gone")}
    weights["cut"].write_bytes(weights["cut"].read_bytes()[:100])
    weights["gone"].unlink()
    Path("spoilt-model/narrows.json").write_bytes(b'{"\xff')
    Path("foreign-model/narrows.json").write_text("[]")
    Path("deep-model/narrows.json").write_text("[" * 100_000)
    facts = json.loads(Path("model/narrows.json").read_text())
    Path("newer-model/narrows.json").write_text(json.dumps({**facts, "format_version": LONG * 9}))
    for name in ("spoilt", "tableless", "newer", "noise"):
        shutil.copytree("lib", f"{name}-lib")
    Path("spoilt-lib/library.json").write_text("{")
    shutil.rmtree("tableless-lib/table.lance")
    facts = json.loads(Path("lib/library.json").read_text())
    Path("newer-lib/library.json").write_text(json.dumps({**facts, "format_version": 99}))
    for part in Path("noise-lib/table.lance").rglob("*"):
        if part.is_file():
            part.write_bytes(np.random.default_rng(SEED).bytes(part.stat().st_size))


def commands() -> list[tuple[set[int], list[str]]]:
    """Return every command line, with the exit codes that are right."""
    made = []

    def add(codes, pattern: str, what: str) -> None:
        words = [word.replace("{}", what) for word in shlex.split(pattern)]
        made.append(({codes} if isinstance(codes, int) else set(codes), words))

    for several, verbs in (
        (BAD_TABLES, TABLE_VERBS),
        (BAD_PICTURES, PICTURE_VERBS),
        (BAD_SOUNDS, SOUND_VERBS),
    ):
        for what in several:
            for pattern in verbs:
                if not (what == "some-bad" and pattern.startswith("pack")):  # which keeps its work
                    add(3, pattern, what)
    for several, verbs in ((BAD_MODELS, MODEL_VERBS), (BAD_LIBRARIES, LIBRARY_VERBS)):
        for what, codes in several.items():
            for pattern in verbs:
                # To duplicates, a folder that is no library is one of pictures.
                scanned = what == "nothing" and pattern.startswith("duplicates")
                add(3 if scanned else codes, pattern, what)
    for what in BAD_OUTPUTS:
        for pattern in OUTPUT_VERBS:
            add(5, pattern, what)
    for codes, pattern in OPTIONS:
        add(codes, pattern, "")
    return made


def python_calls() -> dict[str, object]:
    """Return calls of the Python interface that must be refused."""
    fitted, library = load("tmodel"), Library.open("tlib")
    encoder, decoder = fitted.split()
    bad = {
        "NaN": np.full((4, 6), np.nan), "infinity": np.full((4, 6), np.inf),
        "beyond": np.full((4, 6), 1e300), "no rows": np.zeros((0, 6)), "width": np.zeros((4, 5)),
        "text": [["a"] * 6] * 4, "ragged": [[1.0] * 6, [2.0]], "None": None, "complex": TABLE * 1j,
        "objects": np.array([[{}] * 6] * 4, object), "a path": "\x1b[31m\n" + LONG,
        "NUL": "a\0b", "a number": 3, "far": np.full((4, 6), 3e38),
    }  # fmt: skip
    calls = {}
    for what, X in bad.items():
        for name in ("transform", "reconstruct", "reconstruction_error", "score"):
            calls[f"{name} {what}"] = lambda X=X, name=name: getattr(fitted, name)(X)
        calls[f"encoder {what}"] = lambda X=X: encoder.transform(X)
        calls[f"match {what}"] = lambda X=X: library.match(X)
        if what not in ("width", "far"):  # of which a new model can learn
            for name in MODELS:
                calls[f"fit {name} {what}"] = lambda X=X, name=name: MODELS[name](2).fit(X)
    codes = {
        "NaN": np.full((4, 3), np.nan), "infinity": np.full((4, 3), np.inf), "none": None,
        "huge": np.full((4, 3), 3e38), "width": np.zeros((4, 9)), "text": [["a"] * 3],
    }  # fmt: skip
    for what, Z in codes.items():
        calls[f"inverse_transform {what}"] = lambda Z=Z: fitted.inverse_transform(Z)
        calls[f"decoder {what}"] = lambda Z=Z: decoder.inverse_transform(Z)
        if what != "huge":
            calls[f"match codes {what}"] = lambda Z=Z: library.match(codes=Z)
    for what in (*BAD_TABLES, *BAD_PICTURES):
        if what not in ("nan.npy", "infinite.npy"):  # which are refused by whoever uses them
            calls[f"read {what[:20]!r}"] = lambda what=what: files.read(what)
    for what in BAD_SOUNDS:
        calls[f"hear {what}"] = lambda what=what: signals.read(what)
    for what in BAD_MODELS:
        calls[f"load {what}"] = lambda what=what: load(what)
    for what in BAD_LIBRARIES:
        calls[f"open {what}"] = lambda what=what: Library.open(what)
    for what in BAD_OUTPUTS:
        calls[f"save {what[:20]}"] = lambda what=what: fitted.save(what)
        calls[f"write {what[:20]}"] = lambda what=what: files.write(f"{what}.npy", TABLE)
    return calls


def digest(folder: Path) -> str:
    """Name all that is below a folder: names, kinds and contents."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(os.fsencode(path) + b"\0")
        if path.is_symlink() or not path.is_file():
            continue
        found.update(path.read_bytes())
    return found.hexdigest()


def complaint(codes: set[int], code: int, out: str, err: str) -> str:
    """Say what is wrong with how a command has ended; "" if nothing."""
    lines = err.splitlines()
    told = [line for line in lines if line.startswith("narrows: error: ")]
    if code not in codes:
        return f"exit code {code}, not {sorted(codes)}; {err[-200:]!r}"
    if len(told) != 1 or lines[-1:] != told or "Traceback" in err:
        return f"not one line at the end: {err[-200:]!r}"
    if max(map(len, lines)) > LONGEST:
        return f"a line of {max(map(len, lines))} characters"
    if not all(line.isprintable() for line in lines):
        return f"not printable: {err[-200:]!r}"
    return f"an answer on standard output: {out[:80]!r}" if out else ""


def run_here(words: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except BaseException as error:  # noqa: BLE001  this is what is looked for
            return 1, out.getvalue(), f"{err.getvalue()}{type(error).__name__}: {error}"
    return code, out.getvalue(), err.getvalue()


def run_process(words: list[str]) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "narrows", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def call(function) -> str:
    """Say what is wrong with how a call has ended; "" if nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function()
    except NarrowsError as error:
        text = str(error)
        right = text.isprintable() and len(text) <= LONGEST
        return "" if right else f"a message of {len(text)} characters: {text[:99]!r}"
    except BaseException as error:  # noqa: BLE001  this is what is looked for
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "it was not refused"


def check(quick: bool) -> Outcome:
    del quick  # all of it takes a minute
    with tempfile.TemporaryDirectory() as outer:
        folder, temporary = Path(outer, "work"), Path(outer, "tmp")
        folder.mkdir()
        temporary.mkdir()
        before = tempfile.tempdir, os.environ.get("TMPDIR")
        with chdir(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prepare()
            tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
            was, lines = digest(folder), commands()
            tries = [(run_here, *line) for line in lines]
            tries += [(run_process, *line) for line in lines[:: len(lines) // AS_PROCESSES]]
            found: list[tuple[str, str]] = []
            for run, codes, words in tries:
                found.append(
                    (f"narrows {shlex.join(words)[:120]!r}", complaint(codes, *run(words)))
                )
                was = changed(folder, temporary, was, found)
            for name, function in python_calls().items():
                found.append((name, call(function)))
                was = changed(folder, temporary, was, found)
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]
    failures = [f"{what}: {wrong}" for what, wrong in found if wrong]
    verbs = len({words[0] for _, words in lines})
    facts = (
        f"{len(lines)} command lines of {verbs - 2} verbs, {len(tries) - len(lines)} of them as "
        f"processes too; {len(found) - len(tries)} calls from Python"
    )
    return Outcome(len(found), facts, failures)


def changed(folder: Path, temporary: Path, was: str, found: list[tuple[str, str]]) -> str:
    """Note it if the last case has changed a file or left one."""
    now, left = digest(folder), sorted(part.name for part in temporary.iterdir())
    if now != was or left:
        found[-1] = (found[-1][0], f"{found[-1][1]} files were changed or left: {left}")
    return now
