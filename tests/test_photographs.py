"""Picture files read with everything that they hold, and written again."""

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from picture_kit import picture, png16, tiff
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from narrows.data import photographs, reading
from narrows.data.image_codec import DefectError, decode
from narrows.data.photographs import Photograph, open_photograph
from narrows.errors import DataError, ParameterError

HEIGHT, WIDTH = 40, 64
Y, X = np.mgrid[:HEIGHT, :WIDTH]
COLOURS = np.stack([X * 4, Y * 6, (X + Y) * 2], axis=2).astype(np.uint8)
RGBA = np.dstack([COLOURS, (X * 4).astype(np.uint8)])
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# The most that grey levels change on average when a lossy kind is written anew.
LOSSY = {"jpg": 0.5, "webp": 1.2, "avif": 1.0}


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274], exif[271], exif[306] = orientation, "Maker", "2020:01:01 00:00:00"
    exif.get_ifd(34665)[33434] = 0.5  # exposure time
    exif.get_ifd(34665)[36867] = "2020:02:02 00:00:00"
    exif.get_ifd(34853)[1] = "N"
    return exif


def metadata(path: Path, orientation: int) -> dict[str, Any]:
    """The same EXIF data as Pillow takes them for a kind of files."""
    exif = exif_of(orientation)
    if path.suffix != ".tif":
        return {"exif": exif}
    tags = ImageFileDirectory_v2()
    for tag, value in exif.items():
        tags[tag] = value
    for part in (34665, 34853):
        tags[part] = dict(exif.get_ifd(part))
    return {"tiffinfo": tags}


def again(
    path: Path,
    to: Path | None = None,
    change: Callable[[NDArray[Any]], NDArray[Any]] = lambda values: values,
) -> tuple[Photograph, Path]:
    """Write a file again, with other values if wanted."""
    to = to or path.with_name(f"again-{path.name}")
    with open_photograph(path) as photograph:
        frames = (frame._replace(values=change(frame.values)) for frame in photograph.frames())
        photograph.write(to, frames)
    return photograph, to


def held(path: Path) -> tuple[Any, ...]:
    """What a file holds besides its pixels, as Pillow tells it."""
    with Image.open(path) as image:
        exif, info = image.getexif(), image.info
        return (
            image.format, image.mode, image.size, getattr(image, "n_frames", 1), exif.get(274),
            exif.get(271), dict(exif.get_ifd(34665)), dict(exif.get_ifd(34853)), info.get("dpi"),
            info.get("icc_profile"),
        )  # fmt: skip


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("ending", "mode"),
    [
        *(("png", mode) for mode in ("1", "L", "LA", "RGB", "RGBA")),
        *(("jpg", mode) for mode in ("L", "RGB", "CMYK")),
        *((ending, mode) for ending in ("webp", "avif") for mode in ("RGB", "RGBA")),
        *(("tif", mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "CMYK")),
    ],
)
def test_everything_stays_and_nothing_is_turned_twice(
    ending: str, mode: str, orientation: int, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    held_in = metadata(path, orientation)
    Image.fromarray(RGBA).convert(mode).save(path, icc_profile=PROFILE, dpi=(300, 300), **held_in)
    photograph, made = again(path)
    assert held(made) == held(path)
    assert photograph.notes == set()
    shape = (*((WIDTH, HEIGHT) if orientation == 6 else (HEIGHT, WIDTH)), 3)
    away = np.abs(decode(made, shape).astype(int) - decode(path, shape)).mean()
    assert away <= LOSSY.get(ending, 0)


@pytest.mark.parametrize("ending", ["bmp", "ppm", "pgm", "pbm", "jp2"])
def test_kinds_without_metadata_keep_their_pixels(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    mode = {"pgm": "L", "pbm": "1"}.get(ending, "RGB")
    Image.fromarray(COLOURS).convert(mode).save(path)
    _, made = again(path)
    assert held(made) == held(path)
    np.testing.assert_array_equal(np.asarray(Image.open(made)), np.asarray(Image.open(path)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_files_of_sixteen_bits_keep_all_of_them(channels: int, tmp_path: Path) -> None:
    values = picture((9, 7, channels)[: 2 if channels == 1 else 3], 16)
    (tmp_path / "a.png").write_bytes(png16(values))
    with open_photograph(tmp_path / "a.png") as photograph:
        (frame,) = photograph.frames()
        assert frame.alpha == {2: 1, 4: 3}.get(channels)
    np.testing.assert_array_equal(frame.values, values)
    _, made = again(tmp_path / "a.png")
    assert made.read_bytes()[24] == 16
    with open_photograph(made) as photograph:
        (frame,) = photograph.frames()
    np.testing.assert_array_equal(frame.values, values)


def test_chunks_of_png_files_are_copied_as_they_are(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Somebody")
    texts.add_itxt("Title", "Müll", "de", "Titel")
    texts.add(b"gAMA", (45455).to_bytes(4, "big"))
    path = tmp_path / "a.png"
    Image.fromarray(COLOURS).quantize(16).save(path, pnginfo=texts, dpi=(72, 96))
    photograph, made = again(path)
    assert photograph.notes == {"palette"}
    with Image.open(path) as one, Image.open(made) as other:
        one.load(), other.load()
        assert other.mode == "RGB"
        assert other.info == one.info
        np.testing.assert_array_equal(np.asarray(other), np.asarray(one.convert("RGB")))


def test_palettes_of_greys_and_of_clear_colours(tmp_path: Path) -> None:
    grey = Image.fromarray(COLOURS[:, :, 0]).quantize(8)
    grey.save(tmp_path / "grey.png")
    clear = Image.fromarray(COLOURS).quantize(8)
    clear.save(tmp_path / "clear.png", transparency=3)
    modes = {}
    for name in ("grey", "clear"):
        _, made = again(tmp_path / f"{name}.png")
        with Image.open(made) as image, Image.open(tmp_path / f"{name}.png") as source:
            modes[name] = image.mode
            np.testing.assert_array_equal(np.asarray(image), np.asarray(source.convert(image.mode)))
    assert modes == {"grey": "L", "clear": "RGBA"}


@pytest.mark.parametrize("quality", [30, 98])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_keeps_its_subsampling_and_is_at_least_as_fine(
    quality: int, subsampling: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOURS).save(
        path, quality=quality, subsampling=subsampling, progressive=True, comment=b"hello"
    )
    _, made = again(path)
    with Image.open(path) as one, Image.open(made) as other:
        assert other.layer == one.layer
        assert other.info["comment"] == b"hello"
        assert "progressive" in other.info
        tables = (one.quantization, other.quantization)
    if quality == 98:
        assert tables[0] == tables[1]
    else:  # a file that was coarse is not made coarse again
        assert max(tables[1][0]) == 12 < max(tables[0][0])


def test_webp_without_loss_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.fromarray(RGBA).save(path, lossless=True, exact=True)
    _, made = again(path)
    np.testing.assert_array_equal(np.asarray(Image.open(made)), RGBA)


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "avif"])
def test_frames_and_their_durations_stay(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    frames = [Image.fromarray(np.roll(COLOURS, 9 * n, axis=1)) for n in range(4)]
    durations = [100, 250, 40, 500]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=3)
    photograph, made = again(path)
    assert photograph.count == 4
    assert photograph.notes == ({"few_colours"} if ending == "gif" else set())
    with Image.open(path) as one, Image.open(made) as other:
        assert other.n_frames == 4
        assert other.info.get("loop") == one.info.get("loop")
        found = []
        for number in range(4):
            for image in (one, other):
                image.seek(number)
                image.load()
            found.append(other.info["duration"])
            pixels = (np.asarray(image.convert("RGB")).astype(int) for image in (one, other))
            assert np.abs(np.subtract(*pixels)).mean() < 2
        assert found == durations


def test_frames_with_clear_parts_do_not_show_those_before(tmp_path: Path) -> None:
    frames = []
    for number in range(3):
        values = np.zeros((20, 30, 4), np.uint8)
        values[:, 10 * number : 10 * number + 10] = (200, 90 * number, 30, 255)
        frames.append(Image.fromarray(values))
    for ending in ("gif", "png"):
        path = tmp_path / f"a.{ending}"
        options: dict[str, Any] = {"disposal": 2} if ending == "gif" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, **options)
        _, made = again(path)
        with Image.open(made) as image:
            for number in range(3):
                image.seek(number)
                alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
                seen = np.flatnonzero(alpha[0])
                assert (seen.min(), seen.max()) == (10 * number, 10 * number + 9)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (picture((9, 7), 16), {"byteorder": ">"}),
        (picture((9, 7), 16), {"photometric": "miniswhite"}),
        (picture((40, 30, 3), 16), {"planarconfig": "separate", "compression": "zlib"}),
        (picture((40, 50, 3), 16), {"tile": (16, 32)}),
        (picture((9, 7, 5), 16), {"extrasamples": [0, 0, 0, 0]}),
        (picture((9, 7, 4), 16), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (picture((9, 7, 4), 16), {"photometric": "separated"}),
        (picture((9, 7, 4), 8).astype(np.uint8), {"photometric": "separated"}),
        (picture((9, 7), 16).astype(np.int16), {}),
        ((picture((9, 7), 16) / 9).astype(np.float16), {}),
        (picture((9, 7), 16) * 1e-9, {"compression": "zlib"}),
        (picture((9, 7), 1).astype(bool), {}),
    ],
    ids=lambda one: "" if isinstance(one, dict) else f"{one.dtype}{one.shape}",
)
def test_tiff_files_keep_type_layout_and_values(
    values: NDArray[Any], options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    given = {"resolution": (120, 80), "resolutionunit": "CENTIMETER", "software": "scope 3"}
    path.write_bytes(tiff(values, **{**given, **options}))
    photograph, made = again(path)
    assert (photograph.kind, photograph.notes) == ("TIFF", set())
    facts = []
    for file in (path, made):
        with tifffile.TiffFile(file) as opened:
            page = opened.pages[0]
            names = ("dtype", "photometric", "planarconfig", "extrasamples", "is_tiled",
                     "tilewidth", "resolution", "resolutionunit", "software")  # fmt: skip
            facts.append([opened.byteorder, *(getattr(page, name) for name in names)])
            np.testing.assert_array_equal(page.asarray(), tifffile.imread(path))
    assert facts[0] == facts[1]


def test_every_page_keeps_its_tags(tmp_path: Path) -> None:
    """Axes of stacks are in the description: of ImageJ, OME and tifffile."""
    stack = picture((2, 3, 9, 7), 12)
    words = "ImageJ=1.54\nimages=6\nchannels=3\nslices=2\nunit=\\u00B5m\nmin=0\nmax=4095\n"
    for name, options in (
        ("imagej.tif", {"imagej": True, "metadata": {"axes": "ZCYX", "unit": "um"}}),
        ("volume.ome.tif", {"metadata": {"axes": "ZCYX", "PhysicalSizeX": 0.1}}),
        ("shaped.tif", {"metadata": {"axes": "ZCYX"}}),
    ):
        path = tmp_path / name
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
        _, made = again(path, tmp_path / f"again-{name}", change=lambda values: values + 1)
        with tifffile.TiffFile(path) as one, tifffile.TiffFile(made) as other:
            assert len(other.pages) == len(one.pages) == 6
            assert other.series[0].axes == one.series[0].axes
            assert other.pages[0].description == one.pages[0].description
            np.testing.assert_array_equal(other.series[0].asarray(), stack + 1)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(stack[0, 0], description=words.encode(), metadata=None)
    with (
        open_photograph(tmp_path / "a.tif") as photograph,
        pytest.raises(DefectError, match="it is cut short"),
    ):
        list(photograph.frames())


def test_thumbnails_and_masks_are_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(COLOURS, photometric="rgb", metadata=None)
        writer.write(COLOURS[::4, ::4], photometric="rgb", subfiletype=1, metadata=None)
        writer.write(COLOURS[:20], photometric="rgb", metadata=None)
    photograph, made = again(path)
    assert (photograph.count, photograph.notes) == (2, {"thumbnails"})
    with tifffile.TiffFile(made) as opened:
        assert [page.shape for page in opened.pages] == [(40, 64, 3), (20, 64, 3)]


@pytest.mark.parametrize("orientation", [1, 5, 6])
@pytest.mark.parametrize(
    ("mode", "compression", "notes"),
    [("RGB", "jpeg", set()), ("1", "group4", set()), ("P", "raw", {"converted"}),
     ("LAB", "raw", {"converted"})],
)  # fmt: skip
def test_tiff_files_that_pillow_unpacks(
    mode: str, compression: str, notes: set[str], orientation: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    image = Image.fromarray(COLOURS)
    if mode == "LAB":
        image = Image.merge("LAB", image.split())
    elif mode != "RGB":
        image = image.convert(mode)
    image.save(path, compression=compression, dpi=(300, 300), exif=exif_of(orientation))
    photograph, made = again(path)
    assert photograph.notes == notes
    shape = (*((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH)), 3)
    np.testing.assert_array_equal(decode(made, shape), decode(path, shape))
    assert held(made)[5:9] == held(path)[5:9]


def test_packed_samples_of_twelve_bits_become_sixteen(tmp_path: Path) -> None:
    values = picture((6, 8), 12)
    bits = ((values[..., None] >> np.arange(12)[::-1]) & 1).astype(np.uint8)
    packed = np.packbits(bits.reshape(6, -1), axis=1).tobytes()
    entries = [(256, 8), (257, 6), (258, 12), (259, 1), (262, 1), (273, 8 + 2 + 12 * 9 + 4),
               (277, 1), (278, 6), (279, len(packed))]  # fmt: skip
    file = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    for tag, value in entries:
        file += tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little")
        file += value.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(file + bytes(4) + packed)
    photograph, made = again(tmp_path / "a.tif")
    assert photograph.notes == {"unpacked"}
    truth = np.rint(values * (65535 / 4095)).astype(np.uint16)
    np.testing.assert_array_equal(tifffile.imread(made), truth)


@pytest.mark.parametrize("to", ["b.png", "b.tif", "b.jpg", "b.webp"])
@pytest.mark.parametrize("source", ["a.png", "a.tif", "a.jpg", "a.webp"])
def test_what_a_file_holds_goes_into_other_kinds(source: str, to: str, tmp_path: Path) -> None:
    path = tmp_path / source
    held_in = metadata(path, 6)
    Image.fromarray(COLOURS).save(path, icc_profile=PROFILE, dpi=(300, 300), **held_in)
    _, made = again(path, tmp_path / to)
    one, other = held(path), held(made)
    assert other[0] == {"b.png": "PNG", "b.tif": "TIFF", "b.jpg": "JPEG", "b.webp": "WEBP"}[to]
    assert other[1] == one[1]
    assert other[3:6] == one[3:6]
    assert other[6][36867] == "2020:02:02 00:00:00"
    assert other[7] == one[7]
    assert other[9] == PROFILE
    if "webp" not in source + to:
        assert other[8] == pytest.approx(one[8], rel=1e-3)
    shape = (WIDTH, HEIGHT, 3)
    away = np.abs(decode(made, shape).astype(int) - decode(path, shape)).mean()
    assert away < 1.3


@pytest.mark.parametrize("to", ["b.webp", "b.jpg", "b.png", "b.tif"])
def test_the_resolution_goes_into_other_kinds(to: str, tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.tif", dpi=(300, 150))
    _, made = again(tmp_path / "a.tif", tmp_path / to)
    with Image.open(made) as image:
        exif = image.getexif()
        found = image.info.get("dpi") or (exif[282], exif[283])
        assert found == pytest.approx((300, 150), rel=1e-3)


@pytest.mark.parametrize(("unit", "x", "y"), [(0, 1, 1), (0, 4, 3), (1, 1, 1), (2, 118, 59)])
def test_the_density_of_jpeg_stays_as_it_is(unit: int, x: int, y: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", exif=exif)
    packed = bytearray((tmp_path / "a.jpg").read_bytes())
    packed[13:18] = struct.pack(">BHH", unit, x, y)
    (tmp_path / "a.jpg").write_bytes(packed)
    _, made = again(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert made.read_bytes()[6:18] == bytes(packed[6:18])
    if not unit:  # nobody knows how many pixels an inch has
        _, made = again(tmp_path / "a.jpg", tmp_path / "b.png")
        with Image.open(made) as image:
            assert "dpi" not in image.info


def test_a_palette_is_said_to_be_what_it_becomes(tmp_path: Path) -> None:
    few = Image.fromarray(COLOURS).quantize(32)
    few.save(tmp_path / "a.gif")
    few.save(tmp_path / "a.png")
    Image.fromarray(COLOURS[:, :, 0]).save(tmp_path / "grey.gif")
    for source, to, notes in (
        ("a.gif", "b.png", {"palette"}),
        ("a.gif", "b.gif", {"few_colours"}),
        ("a.png", "c.gif", {"few_colours"}),
        ("grey.gif", "d.gif", set()),
    ):
        assert again(tmp_path / source, tmp_path / to)[0].notes == notes


def test_what_a_kind_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png16(picture((9, 7), 16)))
    (tmp_path / "float.tif").write_bytes(tiff(picture((9, 7), 16) / 7))
    Image.fromarray(RGBA).save(tmp_path / "clear.png")
    Image.fromarray(RGBA).convert("CMYK").save(tmp_path / "inks.tif")
    tifffile.imwrite(
        tmp_path / "stack.tif", np.zeros((3, 9, 7), np.uint8), photometric="minisblack"
    )
    for name, to, why in (
        ("deep.png", "x.jpg", "16 bits a sample"),
        ("float.tif", "x.png", "1 channels of float64"),
        ("clear.png", "x.jpg", "4 channels of uint8 with opacity"),
        ("inks.tif", "x.png", "4 channels of uint8,"),
        ("stack.tif", "x.jpg", "3 pictures"),
    ):
        with pytest.raises(DataError, match=f"{re.escape(to)}' does not hold {why}.*name a file"):
            again(tmp_path / name, tmp_path / to)
        assert not (tmp_path / to).exists()
    for to in ("x", "x.npy", "x.wav"):
        with pytest.raises(ParameterError, match=r"no pictures are written; name a file ending"):
            photographs.check_writable(tmp_path / to)


def test_a_file_is_of_its_own_kind_whatever_it_is_called(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.JPG")
    _, made = again(tmp_path / "a.JPG", tmp_path / "b.jpg")
    with Image.open(made) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), COLOURS)


def test_pages_above_the_bound_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((4, 4), np.uint8), metadata=None)
        writer.write(np.zeros((40, 40), np.uint8), metadata=None)
    how = reading.Reading(max_pixels=100)
    with pytest.raises(DefectError, match="40 x 40 pixels would be unpacked"):  # noqa: SIM117
        with open_photograph(tmp_path / "a.tif", how) as photograph:
            list(photograph.frames())
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg")
    with pytest.raises(DefectError, match="64 x 40 pixels would be unpacked"):  # noqa: SIM117
        with open_photograph(tmp_path / "a.jpg", how) as photograph:
            list(photograph.frames())
