"""The kinds of files that Narrows reads: a sound one of each, its checksums, and its reader."""

import contextlib
import gzip
import hashlib
import io
import json
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)
TABLE = RNG.normal(5, 2, (20, 4)).round(3)
PIXELS = RNG.integers(0, 256, (3, 9, 8), dtype=np.uint8)


@dataclass
class Kind:
    """A kind of file, or of folder.

    Parameters
    ----------
    name : str
    seeds : list of dict of str to bytes
        Sound ones, at least one: the files of each, by their names.
    read : callable
        Reads what is at a path, and returns what is wrong with the result, if anything.
    mend : callable, optional
        Computes the checksums of damaged files anew.
    inner : callable, optional
        From a file to what is compressed in it, and the way back: damage is done to that.
    weight : float
        How often it is tried.
    """

    name: str
    seeds: list[dict[str, bytes]]
    read: Callable[[Path], str | None]
    mend: Callable[[dict[str, bytes], str], dict[str, bytes]] | None = None
    inner: tuple[Callable, Callable] | None = None
    weight: float = 1.0
    left: list[Path] = field(default_factory=list)

    def write(self, rng, folder: Path, mutate) -> Path:
        """Write a damaged one into a folder."""
        files = dict(self.seeds[rng.integers(len(self.seeds))])
        other = self.seeds[rng.integers(len(self.seeds))]
        name = sorted(files)[rng.integers(len(files))]
        donor = other.get(name) or next(iter(other.values()))
        if self.inner is not None and rng.random() < 0.5:
            unpack, pack = self.inner
            files[name] = pack(mutate(rng, unpack(files[name]), unpack(donor)))
        else:
            files[name] = mutate(rng, files[name], donor)
        if self.mend is not None and rng.random() < 0.5:
            with contextlib.suppress(ValueError, KeyError, TypeError, struct.error):
                files = self.mend(files, name)
        place = folder / "case"
        if place.exists():
            shutil.rmtree(place)
        place.mkdir()
        for file, contents in files.items():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_bytes(contents)
        return place / next(iter(files)) if "/" not in next(iter(files)) else place / "it"


# Readers ------------------------------------------------------------------------------------------


def read_rows(path: Path) -> str | None:
    from narrows.data import files

    rows = files.read(path)
    values = np.asarray(rows.values[:])
    if values.dtype.kind not in "biuf" or (values.ndim < 2 and path.suffix != ".npy"):
        return f"{values.dtype} of shape {values.shape}"
    if len(rows.names) != len(values):
        return f"{len(rows.names)} names of {len(values)} rows"
    return None


def read_signal(path: Path) -> str | None:
    from narrows import signals

    found = signals.read(path)
    if found.values.dtype.kind not in "biuf" or found.values.ndim > 2 or not len(found.values):
        return f"{found.values.dtype} of shape {found.values.shape}"
    return None


def read_model(path: Path) -> str | None:
    from narrows import load

    model = load(path)
    codes = model.transform(TABLE)
    return None if np.isfinite(codes).all() else "codes that are not finite"


def read_library(path: Path) -> str | None:
    from narrows import Library

    library = Library.open(path)
    found = library.match(TABLE[:2], k=3)
    library.match(TABLE[:2], k=3, where="label = 'a'")
    if len(library.codes) != len(library) or len(library.ids) != len(library):
        return "codes and ids of other numbers than rows"
    if not all(np.isfinite(one.distance) for some in found for one in some):
        return "distances that are not finite"
    return None


def search_approximately(path: Path) -> str | None:
    from narrows import Library

    found = Library.open(path).match(TABLE[:2], k=3, search="approximate")
    return None if all(len(some) == 3 for some in found) else "fewer matches"


def go_on(path: Path) -> str | None:
    from narrows import Autoencoder

    Autoencoder(2, max_epochs=3, random_state=0, checkpoint=path, hidden_layer_sizes=(3,)).fit(
        TABLE
    )
    return None


def filter_by(path: Path) -> str | None:
    import pyarrow as pa

    from narrows.library.filters import to_sql

    kinds = {"label": pa.string(), "year": pa.int64(), "score": pa.float32(), "day": pa.date32()}
    text = path.read_bytes().decode(errors="surrogateescape")
    to_sql(text, pa.schema(list(kinds.items())))
    return None


def read_labels(path: Path) -> str | None:
    from narrows.data.tables import read_table

    read_table(path)
    return None


# Checksums ----------------------------------------------------------------------------------------


def mend_png(files, name):
    data, place, made = files[name], 8, files[name][:8]
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        chunk = data[place + 4 : place + 8 + size]
        made += data[place : place + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        place += 12 + size
    return {name: made}


def mend_model(files, name):
    """Have the manifest state the digests of the weights that there are."""
    if not name.endswith(".safetensors"):
        return files
    manifest = next(file for file in files if file.endswith("it/narrows.json"))
    facts = json.loads(files[manifest])
    for entry in facts["weights"].values():
        entry["sha256"] = hashlib.sha256(files[f"it/{entry['file']}"]).hexdigest()
    return {**files, manifest: json.dumps(facts).encode()}


def unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(archive.namelist()[0])


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("X.npy", data)
    return file.getvalue()


def pixels_of(data: bytes) -> bytes:
    """Unpack the lines of a PNG file."""
    start = data.index(b"IDAT")
    size = int.from_bytes(data[start - 4 : start], "big")
    return data[: start - 4] + b"\0IDAT\0" + zlib.decompress(data[start + 4 : start + 4 + size])


def as_png(data: bytes) -> bytes:
    head, _, lines = data.partition(b"\0IDAT\0")
    chunks = b""
    for kind, contents in ((b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        crc = zlib.crc32(kind + contents)
        chunks += struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", crc)
    return mend_png({"a": head}, "a")["a"] + chunks


# Seeds --------------------------------------------------------------------------------------------


def saved(image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture_kinds() -> list[Kind]:
    from PIL import Image, features

    import narrows.data.image_codec  # noqa: F401  registers the readers of optional packages

    grey, wide = Image.fromarray(PIXELS[0]), Image.fromarray(PIXELS[0].astype(np.uint16) * 257)
    colour = Image.fromarray(np.stack([*PIXELS], -1))
    flat = Image.fromarray(PIXELS[0].astype(np.float32))
    both = {"save_all": True, "append_images": [grey]}
    palette = colour.convert("P")
    made = {
        "png": [saved(x, "PNG") for x in (grey, wide, colour, palette, colour.convert("RGBA"))],
        "jpg": [saved(x, "JPEG", **o) for x, o in ((grey, {}), (colour, {"progressive": True}))],
        "tif": [
            *(saved(x, "TIFF") for x in (grey, wide, colour, flat)),
            saved(colour, "TIFF", compression="tiff_lzw"),
            saved(grey, "TIFF", compression="tiff_adobe_deflate"),
            saved(grey, "TIFF", **both),
        ],
        "gif": [saved(palette, "GIF"), saved(grey, "GIF", **both)],
        "bmp": [saved(x, "BMP") for x in (grey, colour, palette)],
        "ppm": [saved(x, "PPM") for x in (grey, wide, colour)],
        "webp": [saved(colour, "WEBP"), saved(colour, "WEBP", lossless=True)],
        "jp2": [saved(colour, "JPEG2000"), saved(grey, "JPEG2000")],
    }
    if features.check("avif"):
        made["avif"] = [saved(colour, "AVIF")]
    more = {"png": {"mend": mend_png, "inner": (pixels_of, as_png)}}
    return [
        Kind(suffix, [{f"a.{suffix}": one} for one in some], read_rows, **more.get(suffix, {}))
        for suffix, some in made.items()
    ]


def sound_kinds() -> list[Kind]:
    import soundfile

    wave = 0.4 * np.sin(np.arange(600) / 9)
    stereo = np.stack([wave, -wave], 1)
    subtypes = {"wav": ("PCM_16", "FLOAT", "DOUBLE", "MS_ADPCM"), "aiff": ("PCM_16", "FLOAT")}
    subtypes |= {"flac": ("PCM_16", "PCM_24"), "ogg": ("VORBIS",), "mp3": ("MPEG_LAYER_III",)}
    made = []
    for kind, several in subtypes.items():
        seeds = []
        for subtype in several:
            for values in (wave, stereo):
                file = io.BytesIO()
                soundfile.write(file, values, 8000, format=kind.upper(), subtype=subtype)
                seeds.append({f"a.{kind}": file.getvalue()})
        made.append(Kind(kind, seeds, read_signal))
    return made


def table_kinds() -> list[Kind]:
    import pyarrow as pa
    from pyarrow import parquet

    names = ["a", "b", "c", "Größe"]
    lines = [",".join(names), *(",".join(map(str, row)) for row in TABLE)]
    text = "\n".join(lines).encode()
    semicolons = text.replace(b",", b";").replace(b".", b",")
    csv = [text, semicolons, text.replace(b"\n", b"\r\n"), text.decode().encode("utf-16")]
    columns = dict(zip(names, map(pa.array, TABLE.T), strict=True))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(TABLE.ravel()), 4)
    png = {"bytes": saved_png(), "path": "a.png"}
    tables = [
        pa.table(columns),
        pa.table({"rows": lists}),
        pa.table({"rows": pa.array(TABLE.tolist())}),
        pa.table({"image": [png] * 3, "label": ["x", "y", "é"]}),
    ]
    packed = []
    for table in tables:
        for options in ({}, {"compression": "none", "use_dictionary": False}):
            file = io.BytesIO()
            parquet.write_table(table, file, **options)
            packed.append({"a.parquet": file.getvalue()})
    return [
        Kind("csv", [{"a.csv": one} for one in csv], read_rows, weight=2),
        Kind("tsv", [{"a.tsv": text.replace(b",", b"\t")}], read_rows),
        Kind("txt", [{"a.txt": text.replace(b",", b" ")}], read_rows),
        Kind(
            "csv.gz",
            [{"a.csv.gz": gzip.compress(text, mtime=0)}],
            read_rows,
            inner=(gzip.decompress, gzip.compress),
        ),
        Kind("parquet", packed, read_rows, weight=4),
    ]


def saved_png() -> bytes:
    from PIL import Image

    return saved(Image.fromarray(PIXELS[0]), "PNG")


def array_kinds() -> list[Kind]:
    def npy(values):
        file = io.BytesIO()
        np.save(file, values)
        return file.getvalue()

    arrays = (TABLE, PIXELS, TABLE.astype(">f4"), np.asfortranarray(TABLE), TABLE > 5)
    idx = struct.pack(">HBB3I", 0, 8, 3, *PIXELS.shape) + PIXELS.tobytes()
    archive = io.BytesIO()
    np.savez_compressed(archive, X=TABLE, names=np.array([f"é{i}" for i in range(20)]))
    return [
        Kind("npy", [{"a.npy": npy(one)} for one in arrays], read_rows, weight=2),
        Kind(
            "npz",
            [{"a.npz": archive.getvalue()}, {"a.npz": zipped(npy(TABLE))}],
            read_rows,
            inner=(unzipped, zipped),
            weight=2,
        ),
        Kind("idx", [{"a-idx3-ubyte": idx}], read_rows),
        Kind(
            "idx.gz",
            [{"a-idx3-ubyte.gz": gzip.compress(idx)}],
            read_rows,
            inner=(gzip.decompress, gzip.compress),
        ),
    ]


def folder_kinds(folder: Path) -> list[Kind]:
    from narrows import Autoencoder, Library
    from narrows.data import files
    from narrows.training.state import Checkpoint

    kept = []
    remove = Checkpoint.remove
    Checkpoint.remove = lambda self: kept.append(self.path.read_bytes())
    how = {"max_epochs": 3, "random_state": 0, "hidden_layer_sizes": (3,)}
    model = Autoencoder(2, checkpoint=folder / "run.ckpt", **how).fit(TABLE)
    Checkpoint.remove = remove
    model.save(folder / "model")
    library, _ = Library.build(
        folder / "library", TABLE, model=model, metadata={"label": ["a", "é"] * 10}
    )
    with contextlib.suppress(ImportError):
        library.build_index()
    files.write(folder / "a.lance", TABLE, names=[f"é{i}" for i in range(20)])

    def held(name: str) -> dict[str, bytes]:
        parts = sorted((folder / name).rglob("*"))
        return {
            f"it/{part.relative_to(folder / name).as_posix()}": part.read_bytes()
            for part in parts
            if part.is_file()
        }

    return [
        Kind("model", [held("model")], read_model, mend=mend_model, weight=2),
        Kind("library", [held("library")], read_library, weight=1.5),
        Kind("index", [held("library")], search_approximately, weight=0.5),
        Kind("lance", [held("a.lance")], read_rows, weight=2),
        Kind("checkpoint", [{"run.ckpt": one} for one in kept], go_on, weight=0.5),
    ]


FILTERS = (
    "label = 'boot' AND year > 2010",
    "NOT (score BETWEEN 0.5 AND 1e3 OR year IN (1, 2, 3)) AND label LIKE 'a%_' ESCAPE '!'",
    "label IS NOT NULL AND day >= DATE '2020-01-31' AND \"year\" % 2 = 1",
)


def make_kinds(folder: Path) -> list[Kind]:
    """Make sound files of all kinds, and say how often each is tried."""
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = [
            *array_kinds(),
            *table_kinds(),
            *picture_kinds(),
            *sound_kinds(),
            *folder_kinds(folder),
            Kind("filter", [{"a.txt": text.encode()} for text in FILTERS], filter_by, weight=2),
        ]
    whole = sum(kind.weight for kind in kinds)
    for kind in kinds:
        kind.weight /= whole
        kind.read(whole_of(kind, folder))  # what is sound is read
    return kinds


def whole_of(kind: Kind, folder: Path) -> Path:
    """Write the first sound one of a kind."""
    return kind.write(np.random.default_rng(0), folder, lambda _rng, data, _other: data)
