"""Pages of TIFF files and frames of animations: said, or pictures of their own on request."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cli_kit import TINY, Run
from picture_kit import picture, png16, saved, stack, tiff
from PIL import Image

from narrows import Autoencoder, Library, pack
from narrows.data import image_codec
from narrows.data.depths import encode_png
from narrows.data.files import read, write
from narrows.data.formats import IMAGE_SUFFIXES
from narrows.data.images import read_image
from narrows.data.names import picture_paths
from narrows.data.reading import reading
from narrows.errors import (
    NarrowsWarning,
    ParameterError,
    UnreadableFileError,
)

pytestmark = pytest.mark.cases

SHAPE = (8, 9)
PAGES = [picture(SHAPE, 12, seed=seed) for seed in range(5)]
SINGLE = picture(SHAPE, 12, seed=9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack of five pages, and a file of one."""
    made = tmp_path / "photos"
    made.mkdir()
    (made / "scan.tif").write_bytes(stack(PAGES))
    (made / "single.tif").write_bytes(tiff(SINGLE))
    return made


NAMES = [*(f"scan.tif#{n}" for n in range(1, 6)), "single.tif"]
ALL = np.stack([*PAGES, SINGLE])


def test_pages_beyond_the_first_are_said(folder: Path) -> None:
    message = r"4 pages or frames beyond the first of 1 file, such as '.*scan\.tif', left out; --pa"
    with pytest.warns(NarrowsWarning, match=message) as caught:
        rows = read(folder)
    assert caught[0].message.kind == "pages_left_out"
    facts = {"files": 1, "pages": 4, "first": str(folder / "scan.tif")}
    assert caught[0].message.facts == facts
    np.testing.assert_array_equal(rows.values, [PAGES[0], SINGLE])
    with pytest.warns(NarrowsWarning, match="4 pages"):
        read_image(folder / "scan.tif", SHAPE)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "AVIF", "PNG", "TIFF"])
def test_frames_are_said_or_taken(tmp_path: Path, form: str) -> None:
    if form not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow has no {form}")
    frames = [Image.new("RGB", (20, 12), (0, 60 * n, 0)) for n in range(4)]
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(form, {})
    file = saved(frames[0], form, save_all=True, append_images=frames[1:], **lossless)
    path = tmp_path / f"moving.{form.lower()}"
    path.write_bytes(file)
    with pytest.warns(NarrowsWarning, match=r"^3 pages or frames beyond the first of 1 file"):
        assert read(path).names == [path.name]
    rows = read(path, pages="all")
    assert rows.names == [f"{path.name}#{n}" for n in range(1, 5)]
    np.testing.assert_allclose(rows.values[..., 1].mean((1, 2)), [0, 60, 120, 180], atol=3)


@pytest.mark.parametrize("size", [20, 700, 70_000])
def test_frames_behind_other_chunks_of_png_are_taken(tmp_path: Path, size: int) -> None:
    frames = [Image.new("RGB", (20, 12), (0, 60 * n, 0)) for n in range(4)]
    profile = {"icc_profile": np.random.default_rng(0).bytes(size)}
    file = saved(frames[0], "PNG", save_all=True, append_images=frames[1:], **profile)
    assert file.index(b"acTL") > size
    (tmp_path / "moving.png").write_bytes(file)
    with pytest.warns(NarrowsWarning, match=r"^3 pages or frames beyond the first of 1 file"):
        read(tmp_path / "moving.png")
    rows = read(tmp_path / "moving.png", pages="all")
    assert rows.names == [f"moving.png#{n}" for n in range(1, 5)]
    np.testing.assert_array_equal(rows.values[..., 1].mean((1, 2)), [0, 60, 120, 180])


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_all_pages_of_a_stack_are_read(tmp_path: Path, options: dict[str, Any], kind: Any) -> None:
    pages = np.stack(PAGES).astype(kind)
    whole = {name: options[name] for name in ("bigtiff", "byteorder") if name in options}
    of_page = {name: one for name, one in options.items() if name not in whole}
    with tifffile.TiffWriter(tmp_path / "a.tif", **whole) as writer:
        for page in pages:
            writer.write(page, photometric="minisblack", metadata=None, **of_page)
    rows = read(tmp_path / "a.tif", pages="all")
    np.testing.assert_array_equal(rows.values, pages)


def test_thumbnails_and_masks_in_a_file_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for number, kind in enumerate((0, 1, 0)):  # a page, its thumbnail, a page
            writer.write(PAGES[number], photometric="minisblack", metadata=None, subfiletype=kind)
        mask = PAGES[3] > 2048
        writer.write(mask, photometric=4, metadata=None, subfiletype=4)
    with pytest.warns(NarrowsWarning, match="^1 page or frame beyond"):
        read(tmp_path / "a.tif")
    rows = read(tmp_path / "a.tif", pages="all")
    np.testing.assert_array_equal(rows.values, [PAGES[0], PAGES[2]])


def test_scans_of_one_bit_are_read_page_by_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.random((20, 16)) > 0.5) for _ in range(3)]
    options = {"compression": "group4", "save_all": True, "append_images": pages[1:]}
    (tmp_path / "fax.tif").write_bytes(saved(pages[0], "TIFF", **options))
    rows = read(tmp_path / "fax.tif", pages="all")
    np.testing.assert_array_equal(rows.values, [np.asarray(page) * 255 for page in pages])


def test_pages_have_one_name_and_one_code_everywhere(
    folder: Path, tmp_path: Path, run: Run
) -> None:
    rows = read(folder, pages="all")
    assert rows.names == NAMES
    np.testing.assert_array_equal(rows.values, ALL)
    told = run("train", folder, "-o", "model", *TINY, "--architecture", "dense", "--pages",
               "all", "--json")  # fmt: skip
    # Two epochs are short; of the pages there is nothing to say.
    kinds = {one["kind"] for one in told.json["warnings"]}
    assert (told.json["rows"], kinds) == (6, {"worse_than_mean"})
    model = Autoencoder(3, architecture="dense", max_epochs=2, random_state=0).fit(ALL)
    assert told.json["fingerprint"] == model.fingerprint_
    truth = model.transform(ALL)
    run("encode", "model", folder, "-o", "codes.npz", "--pages", "all")
    codes = np.load("codes.npz")
    assert codes["names"].tolist() == NAMES
    np.testing.assert_array_equal(codes["X"], truth)
    for extra in ([], ["--reference"]):
        path = f"l{len(extra)}.lance"
        told = run("index", "model", folder, "-o", path, "--pages", "all", "--json", *extra)
        assert (told.json["added"], told.json["warnings"]) == (6, [])
        library = Library.open(tmp_path / path)
        np.testing.assert_allclose(library.codes, truth, atol=1e-5)
        np.testing.assert_array_equal(library.read(library.ids), ALL)
        paths = [Path(item.path).name for item in library.items(library.ids)]
        assert paths == NAMES
        assert library.verify().ok
        assert run("index", "model", folder, "-o", library.path, "--pages", "all", "--add", *extra,
                   "--json").json["present"] == 6  # fmt: skip
    told = run("match", "l0.lance", folder / "scan.tif", "-k", "1", "--pages", "all", "--json")
    found = [(one["query"], Path(one["matches"][0]["path"]).name) for one in told.json["queries"]]
    assert found == [(name, name) for name in NAMES[:5]]
    assert run("reconstruct", "model", folder, "-o", "out", "--pages", "all").code == 0
    written = sorted(path.name for path in Path("out").iterdir())
    assert written == [*(f"scan#{n}.png" for n in range(1, 6)), "single.png"]
    assert run("pack", folder, "-o", "data.lance", "--pages", "all").code == 0
    assert list(read("data.lance").names) == NAMES
    told = run("train", folder, "-o", "other", *TINY, "--architecture", "dense", "--json")
    kinds = {one["kind"] for one in told.json["warnings"]}
    assert kinds == {"pages_left_out", "worse_than_mean"}


def test_a_page_that_has_changed_is_noticed(folder: Path, tmp_path: Path) -> None:
    model = Autoencoder(3, max_epochs=1, random_state=0).fit(ALL)
    with reading(pages="all"):
        library, _ = Library.build(tmp_path / "l", folder, model=model, store="references")
    (folder / "scan.tif").write_bytes(stack([*PAGES[:2], PAGES[0], *PAGES[3:]]))
    np.testing.assert_array_equal(library.read([0, 1]), ALL[:2])
    with pytest.raises(UnreadableFileError, match=r"scan\.tif#3' has changed since it was added"):
        library.read([2])
    (folder / "scan.tif").write_bytes(stack(PAGES[:2]))
    with pytest.raises(UnreadableFileError, match=r"it has 2 pages, and page 5 is asked for"):
        library.read([4])


def test_colours_of_eight_bits_have_one_code_too(tmp_path: Path) -> None:
    """A page is stored alone; what is decoded of that is what is decoded of the file."""
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)) for _ in range(4)]
    frames += [frame.convert("P") for frame in frames]
    model = Autoencoder(3, max_epochs=1, random_state=0).fit(rng.random((9, 12, 10)) * 255)
    options = {"save_all": True, "append_images": frames[1:]}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.tif").write_bytes(saved(frames[0], "TIFF", **options))
    (tmp_path / "photos" / "b.gif").write_bytes(saved(frames[0], "GIF", **options))
    with reading(pages="all"):
        library, added = Library.build(tmp_path / "l", tmp_path / "photos", model=model)
    rows = read(tmp_path / "photos", pages="all", sample_shape=(12, 10), scaling=model.scaling_)
    names = [Path(item.path).name for item in library.items(library.ids)]
    assert (added.count + added.present, len(rows.values)) == (16, 16)
    own = rows.values[[rows.names.index(name) for name in names]]
    np.testing.assert_array_equal(library.read(library.ids), own)


def test_iterators_and_bytes_take_the_first_page_and_say_so(folder: Path, tmp_path: Path) -> None:
    model = Autoencoder(3, max_epochs=1, random_state=0).fit(ALL)
    with pytest.warns(NarrowsWarning, match="4 pages or frames beyond the first of 1 file"):
        library, _ = Library.build(
            tmp_path / "l", iter([(folder / "scan.tif").read_bytes()]), model=model
        )
    np.testing.assert_array_equal(library.read([0]), PAGES[:1])


def test_clean_originals_are_found_page_by_page(folder: Path, tmp_path: Path, run: Run) -> None:
    other = tmp_path / "noisy"
    other.mkdir()
    (other / "scan.tif").write_bytes(stack([page + 9 for page in PAGES[::-1]]))
    model = ["--model", "denoising", *TINY, "--pages", "all"]
    assert run("train", folder, "-o", "m", *model).code == 0
    told = run("denoise", "m", other / "scan.tif", "-o", "out", "--clean", folder, "--pages", "all",
               "--json")  # fmt: skip
    assert told.code == 0
    error = (np.stack(PAGES[::-1]) + 9.0 - np.stack(PAGES)) ** 2
    span = float(ALL.max() - ALL.min())
    truth = np.mean(10 * np.log10(span**2 / error.reshape(5, -1).mean(1)))
    np.testing.assert_allclose(told.json["psnr"]["damaged"], truth, rtol=1e-6)


def test_many_pages_are_read_in_order_from_a_packed_stack(tmp_path: Path) -> None:
    pages = [np.full((4, 4), n, np.uint16) for n in range(300)]
    (tmp_path / "stack.tif").write_bytes(stack(pages))
    (tmp_path / "photos").mkdir()
    (tmp_path / "stack.tif").rename(tmp_path / "photos" / "stack.tif")
    packed = pack(tmp_path / "photos", tmp_path / "data.lance", pages="all")
    assert packed.count == 300
    np.testing.assert_array_equal(read(packed.path).values[:, 0, 0], np.arange(300))


def test_names_of_pages_become_names_of_files() -> None:
    names = ["a/scan.tif#1", "a/scan.tif#2", "b#2.png", "c.d#x"]
    assert [str(path) for path in picture_paths(names)] == [
        "a/scan#1.png", "a/scan#2.png", "b#2.png", "c.d#x.png"
    ]  # fmt: skip


def test_what_are_no_pages_is_refused(folder: Path) -> None:
    with pytest.raises(ParameterError, match="pages='some' is not allowed; give 'first' or 'all'"):
        read(folder, pages="some")  # type: ignore[arg-type]


# Bounds on pixels, by the command and in libraries.


def test_the_bound_is_raised_where_pictures_are_read(tmp_path: Path, run: Run) -> None:
    photos = tmp_path / "photos"
    write(photos, np.stack([picture((30, 20), 8, seed=n) for n in range(9)]).astype(np.uint8))
    assert run("train", photos, "-o", "model", *TINY).code == 0
    told = run("index", "model", photos, "-o", "l.lance", "--max-pixels", "599")
    assert told.code == 3
    assert "20 x 30 pixels would be unpacked, more than the 599" in told.err
    assert "--max-pixels" in told.err
    assert "PIL" not in told.err
    assert run("index", "model", photos, "-o", "l.lance", "--max-pixels", "600").code == 0
    rerank = ["--rerank", "pixels", "--max-pixels"]
    assert run("match", "l.lance", photos / "0.png", *rerank, "599").code == 3
    assert run("match", "l.lance", photos / "0.png", *rerank, "600").code == 0
    assert run("verify", "l.lance").code == 0
    told = run("verify", "l.lance", "--max-pixels", "599")
    assert "its picture is unharmed, and cannot be decoded" in told.out
    assert run("train", photos, "-o", "m", "--max-pixels", "0").code == 2
    assert run("train", photos, "-o", "m", "--max-pixels", "599").code == 3


def test_panoramas_are_indexed(tmp_path: Path, run: Run) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, size in enumerate([(64, 48), (48, 64), (12000, 8000)]):
        Image.new("L", size, 60 * number).save(photos / f"{number}.jpg")
    assert run("train", photos, "-o", "model", "--n-components", "1", *TINY[2:]).code == 0
    assert run("index", "model", photos, "-o", "l.lance").code == 0
    told = run("match", "l.lance", photos / "2.jpg", "-k", "1", "--json")
    assert Path(told.json["queries"][0]["matches"][0]["path"]).name == "2.jpg"


# Formats that packages bring.


@pytest.mark.parametrize(("suffix", "form"), [("heic", "HEIF"), ("heif", "HEIF"), ("jxl", "JXL")])
def test_photos_of_other_formats_are_read(tmp_path: Path, suffix: str, form: str) -> None:
    pytest.importorskip({"HEIF": "pillow_heif", "JXL": "pillow_jxl"}[form])
    assert (
        image_codec.missing_plugin(b"\0\0\0\x18ftypheic") is None
    )  # which teaches Pillow the format
    assert image_codec.missing_plugin(b"\xff\x0a") is None
    y, x = np.mgrid[:48, :64]
    truth = np.stack([x * 4, y * 5, x + y], axis=-1).astype(np.uint8)
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(saved(Image.fromarray(truth), form, quality=95))
    assert path.suffix in IMAGE_SUFFIXES
    rows = read(tmp_path)
    assert rows.values.shape == (1, 48, 64, 3)
    np.testing.assert_allclose(rows.values[0].astype(int), truth.astype(int), atol=20)
    with pytest.raises(UnreadableFileError, match=r"64 x 48 pixels would be unpacked.*max_pixels"):
        read(tmp_path, max_pixels=3071)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UnreadableFileError, match=f"photo.{suffix}' is not a readable picture"):
        read(tmp_path)


@pytest.mark.parametrize("size", [(1, 1), (8, 16), (300, 200), (257, 1025), (4000, 17), (640, 480)])
def test_jpeg_xl_tells_its_size_before_it_is_unpacked(size: tuple[int, int]) -> None:
    pytest.importorskip("pillow_jxl")
    file = saved(Image.new("L", size, 99), "JXL")
    assert image_codec.jxl_size(BytesIO(file)) == size
    boxes = b"\0\0\0\x0cJXL \r\n\x87\n" + (len(file) + 8).to_bytes(4, "big") + b"jxlc" + file
    assert image_codec.jxl_size(BytesIO(boxes)) == size


def test_deep_jpeg_xl_keeps_its_levels() -> None:
    pytest.importorskip("pillow_jxl")
    values = picture((24, 30), 16)
    file = saved(Image.fromarray(values), "JXL", lossless=True)
    np.testing.assert_array_equal(read_image(file, (24, 30)), values)


# As where neither package is installed.
WITHOUT = """
import sys
sys.modules.update(pillow_heif=None, pillow_jxl=None)
from narrows.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("name", "head", "package"),
    [
        ("IMG_1.HEIC", b"\0\0\0\x18ftypheic\0\0\0\0", "pillow-heif"),
        ("a.jxl", b"\xff\x0a" + bytes(20), "pillow-jxl-plugin"),
    ],
)
def test_a_missing_package_is_named(tmp_path: Path, name: str, head: bytes, package: str) -> None:
    def narrows(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / name).write_bytes(head)
    photos = tmp_path / "photos"
    write(photos, np.stack(PAGES[:3]).astype(np.uint8))
    model = Autoencoder(1, max_epochs=1, random_state=0).fit(photos)
    model.save(tmp_path / "m")
    Library.build(tmp_path / "l.lance", photos, model=model)
    for arguments in (("encode", "m", name, "-o", "codes.npy"), ("match", "l.lance", name)):
        told = narrows(*arguments)
        assert told.returncode == 7, told.stderr
        assert told.stderr.count("\n") == 1
        assert f"needs the package {package}; " in told.stderr
        assert "pip install 'narrows[photos]'" in told.stderr
    # A phone's photo that was renamed.
    (photos / "photo.jpg").write_bytes(head)
    told = narrows("encode", "m", "photos", "-o", "codes.npy")
    assert told.returncode == 3
    assert "photo.jpg' is not a readable picture: it is a file of" in told.stderr
    assert f"needs the package {package}" in told.stderr
    told = narrows("encode", "m", "photos", "-o", "codes.npy", "--skip-unreadable", "--json")
    assert json.loads(told.stdout)["rows"] == 3


def test_bits_that_a_reader_leaves_out_are_said(tmp_path: Path) -> None:
    """JPEG 2000 in colours of 16 bits is unpacked in 8 by Pillow."""
    file = bytearray(saved(Image.new("RGB", (20, 12), (9, 99, 200)), "JPEG2000", no_jp2=True))
    assert image_codec.bits_of(Image.open(BytesIO(file)), BytesIO(file)) == 8
    boxes = saved(Image.new("RGB", (20, 12)), "JPEG2000")
    assert image_codec.bits_of(Image.open(BytesIO(boxes)), BytesIO(boxes)) == 8
    told = boxes.replace(
        boxes[boxes.find(b"ihdr") :][:15], boxes[boxes.find(b"ihdr") :][:14] + b"\x0b"
    )
    assert image_codec.bits_of(Image.open(BytesIO(boxes)), BytesIO(told)) == 12
    if "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow has no AVIF")
    avif = saved(Image.new("RGB", (20, 12), (9, 99, 200)), "AVIF")
    place = avif.find(b"av1C") + 6
    for flags, bits in ((0x0C, 8), (0x4C, 10), (0x6C, 12)):
        head = avif[:place] + bytes([flags]) + avif[place + 1 :]
        assert image_codec.bits_of(Image.open(BytesIO(avif)), BytesIO(head)) == bits


def test_ten_bit_heic_is_read_in_eight_and_said(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    values = picture((24, 32, 3), 10) * np.uint16(64)
    made = heif.from_bytes("RGB;16", (32, 24), values.tobytes())
    made.save(tmp_path / "deep.heic", quality=-1)
    with pytest.warns(NarrowsWarning, match=r"1 file of up to 1[02] bits a sample.*read in 8"):
        rows = read(tmp_path)
    assert rows.values.dtype == np.uint8


def test_png_of_sixteen_bits_among_others_needs_no_opening(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png16(SINGLE))
    (tmp_path / "b.png").write_bytes(encode_png(SINGLE))
    assert read(tmp_path).values.dtype == np.uint16
