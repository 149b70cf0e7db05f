"""Pictures of more than 8 bits, and of other channels than grey and colour, keep all their levels.

Truth: the values that were written, by other programs or by the formats' definitions.
"""

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from picture_kit import picture, png16, read_images, saved, tiff
from PIL import ExifTags, Image

from narrows.data.depths import bring, common_type, encode_png
from narrows.data.files import read, write
from narrows.data.images import choose_sample_shape, read_image
from narrows.data.scaling import Scaling, Statistics
from narrows.errors import (
    DataError,
    NarrowsWarning,
    ParameterError,
    UnreadableFileError,
)

pytestmark = pytest.mark.cases

SHAPES = [(24, 30), (24, 30, 3)]
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

# How other programs write 16 bits into TIFF.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "deflate": {"compression": "zlib", "predictor": True},
    "LZMA": {"compression": "lzma"},
}
FORMS = {
    "PNG": png16,
    "interlaced PNG": lambda values: png16(values, interlaced=True),
    **{name: lambda values, way=way: tiff(values, **way) for name, way in WAYS.items()},
}
BOTH = {
    "planes": lambda values: tiff(values, planarconfig="separate"),
    "tiled planes": lambda values: tiff(
        values, planarconfig="separate", tile=(16, 16), compression="zlib"
    ),
}


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("form", FORMS)
def test_all_levels_are_read(bits: int, shape: tuple[int, ...], form: str) -> None:
    values = picture(shape, bits)
    read_back = read_image(FORMS[form](values), shape)
    assert read_back.dtype == np.uint16
    np.testing.assert_array_equal(read_back, values)


@pytest.mark.parametrize("form", BOTH)
def test_planes_of_colours_are_read(form: str) -> None:
    values = picture((24, 30, 3), 12)
    np.testing.assert_array_equal(read_image(BOTH[form](values), values.shape), values)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("predictor", [1, 2])
def test_what_libtiff_packs_is_unpacked(compression: str, predictor: int) -> None:
    predicted = {317: predictor} if compression != "packbits" else {}
    for values in (picture((24, 30), 12), np.linspace(-3, 5, 720, dtype="f4").reshape(24, 30)):
        options = {"compression": compression, "tiffinfo": predicted}
        file = saved(Image.fromarray(values), "TIFF", **options)
        np.testing.assert_array_equal(read_image(file, (24, 30)), values)


def test_predicted_floats_are_read() -> None:
    values = np.random.default_rng(0).normal(size=(24, 30)).astype(np.float32)
    options = {"compression": "tiff_adobe_deflate", "tiffinfo": {317: 3}}
    file = saved(Image.fromarray(values), "TIFF", **options)
    np.testing.assert_array_equal(read_image(file, (24, 30)), values)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_is_zero_is_turned_over(kind: Any, order: str) -> None:
    values = picture((24, 30), 8).astype(kind) * np.iinfo(kind).max // 255
    file = tiff(np.iinfo(kind).max - values, photometric="miniswhite", byteorder=order)
    np.testing.assert_array_equal(read_image(file, (24, 30)), values)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u4", "u8"])
@pytest.mark.parametrize("shape", [(24, 30), (24, 30, 2), (24, 30, 5)])
@pytest.mark.parametrize("order", "<>")
def test_measured_values_are_what_they_are(kind: str, shape: tuple[int, ...], order: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape) if kind[0] == "f" else rng.integers(-9, 99, shape)
    values = np.abs(values).astype(kind) if kind[0] == "u" else values.astype(kind)
    read_back = read_image(tiff(values, byteorder=order), shape)
    assert read_back.dtype == values.dtype
    np.testing.assert_array_equal(read_back, values)


@pytest.mark.parametrize("count", [2, 4, 5, 7])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_other_channels_are_read(count: int, kind: Any) -> None:
    values = picture((24, 30, count), 8).astype(kind)
    for planarconfig in ("contig", "separate"):
        file = tiff(values, planarconfig=planarconfig)
        np.testing.assert_array_equal(read_image(file, values.shape), values)
    with pytest.raises(UnreadableFileError, match=rf"it has {count} channels, where rows have 3"):
        read_image(tiff(values), (24, 30, 3))


def test_packed_twelve_bits_become_sixteen() -> None:
    # Two values of 12 bits in three bytes: 0x000 and 0xFFF, 0x800 and 0x7F8; 0xFFF is white.
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x07, 0xF8])
    header = b"II*\0" + (8).to_bytes(4, "little") + (9).to_bytes(2, "little")
    tags = {256: 2, 257: 2, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 2}
    for tag, value in (tags | {279: len(packed)}).items():
        header += struct.pack("<HHII", tag, 4, 1, value)
    read_back = read_image(header + bytes(4) + packed, (2, 2))
    truth = np.array([[0x000, 0xFFF], [0x800, 0x7F8]]) * (65535 / 4095)
    np.testing.assert_array_equal(read_back, np.rint(truth))


def test_pnm_files_say_what_white_is() -> None:
    for white in (65535, 4095):
        for shape, mark in (((5, 4), "P5"), ((5, 4, 3), "P6")):
            values = np.minimum(picture(shape, 16), white)
            file = f"{mark} 4 5 {white}\n".encode() + values.astype(">u2").tobytes()
            truth = np.floor(values * (65535 / white) + 0.5)
            np.testing.assert_array_equal(read_image(file, shape), truth)


@pytest.mark.parametrize("shape", SHAPES)
def test_transparent_parts_are_white(shape: tuple[int, ...]) -> None:
    values, alpha = picture(shape, 16), picture((24, 30), 16, seed=1)
    share = alpha.reshape(24, 30, *[1] * (len(shape) - 2)) / 65535
    truth = values * share + 65535 * (1 - share)
    both = np.dstack([values, alpha])
    np.testing.assert_allclose(read_image(png16(both), shape), truth, atol=1)
    kind = {"photometric": "rgb" if len(shape) == 3 else "minisblack"}
    file = tiff(both, extrasamples=["unassalpha"], **kind)
    np.testing.assert_allclose(read_image(file, shape), truth, atol=1)
    clear = values[3, 4]
    holes = read_image(png16(values, clear=clear), shape)
    assert (holes[3, 4] == 65535).all()
    assert (holes == values).mean() > 0.99


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [True, False])
def test_deep_pictures_are_turned_upright(orientation: int, deep: bool) -> None:
    values = picture((6, 9), 16) if deep else picture((6, 9), 8).astype(np.uint8)
    tags = [(274, 3, 1, orientation, True)]
    file = tiff(values, extratags=tags)
    # As TIFF 6.0 has it: where the first row and the first column are.
    turned = (values, values[:, ::-1], values[::-1, ::-1], values[::-1], values.T,
              values.T[:, ::-1], values[::-1, ::-1].T, values.T[::-1])[orientation - 1]  # fmt: skip
    np.testing.assert_array_equal(read_image(file, turned.shape), turned)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    np.testing.assert_array_equal(
        read_image(saved(Image.fromarray(values), "PNG", exif=exif), turned.shape), turned
    )


def test_grey_and_colours_are_made_of_each_other() -> None:
    colours, grey = picture((24, 30, 3), 12), picture((24, 30), 12)
    np.testing.assert_allclose(read_image(png16(colours), (24, 30)), colours @ GREY, atol=0.51)
    read_back = read_image(tiff(grey), (24, 30, 3))
    np.testing.assert_array_equal(read_back, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (40, 51), (7, 5, 2)])
@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.int32])
def test_resizing_is_antialiased_without_losing_levels(shape: tuple[int, ...], kind: Any) -> None:
    """Truth: Pillow's bicubic resampling of each channel alone, in its floats."""
    values = (picture((64, 80, *shape[2:]), 12) - 2048.0).astype(kind)
    if kind == np.uint16:
        values = picture((64, 80, *shape[2:]), 12)
    small = read_image(tiff(values), shape)
    planes = values.reshape(64, 80, -1)
    truth = [
        Image.fromarray(planes[:, :, c].astype(np.float32)).resize(
            (shape[1], shape[0]), Image.Resampling.BICUBIC, reducing_gap=2.0
        )
        for c in range(planes.shape[2])
    ]
    expected = np.stack(truth, axis=2).clip(values.min(), values.max()).reshape(shape)
    np.testing.assert_allclose(small, expected, atol=0.51 if kind != np.float32 else 1e-2)
    assert small.dtype == kind


def test_an_offset_takes_no_levels_when_resized() -> None:
    """10^9 + 0..99 in 32 bits: single precision about zero has steps of 64 there."""
    values = picture((64, 64), 6).astype(np.int32) + 10**9
    small = read_image(tiff(values), (16, 16)).astype(np.float64)
    truth = values.reshape(16, 4, 16, 4).mean(axis=(1, 3))
    assert np.abs(small - truth).max() < 12  # bicubic, not the mean of each block
    assert np.corrcoef(small.ravel(), truth.ravel())[0, 1] > 0.9


def test_fine_chequers_become_grey() -> None:
    chequers = (np.indices((512, 384)).sum(axis=0) % 2 * 4095).astype(np.uint16)
    np.testing.assert_allclose(read_image(png16(chequers), (8, 6)), 2047.5, atol=40)


@given(st.data())
def test_sixteen_bit_png_is_written_as_it_is_read(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(1, 1), (3, 5), (4, 2, 3), (2, 3, 1), (1, 7, 4)]))
    values = picture(shape, 16, seed=data.draw(st.integers(0, 99)))
    file = encode_png(values)
    assert file[24] == 16
    if shape[2:] == (4,):
        values[..., 3] = 65535
        np.testing.assert_array_equal(
            read_image(encode_png(values), (*shape[:2], 3)), values[..., :3]
        )
    else:
        np.testing.assert_array_equal(read_image(file, shape), values)


def test_values_that_are_not_finite_name_the_file(tmp_path: Path) -> None:
    values = np.ones((8, 8), np.float32)
    values[2, 3], values[4, 4] = np.nan, np.inf
    (tmp_path / "gap.tif").write_bytes(tiff(values))
    with pytest.raises(UnreadableFileError, match=r"gap\.tif' .*2 of its values are not finite"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((8, 8), np.complex64), {}, r"32 bits|64 bits \(COMPLEX|of no type that is read"),
        (np.zeros((2, 16, 16), np.uint16), {"volumetric": True, "tile": (16, 16, 16)}, "a volume"),
        (np.zeros((8, 8), np.uint16), {"photometric": "cfa"}, "kind CFA, which is read in 8 bits"),
    ],
)
def test_kinds_that_are_not_read_are_named(
    values: NDArray[Any], options: dict[str, Any], message: str
) -> None:
    file = BytesIO()
    tifffile.imwrite(file, values, **({"photometric": "minisblack"} | options))
    with pytest.raises(UnreadableFileError, match=message) as caught:
        read_image(file.getvalue(), (8, 8))
    assert len(str(caught.value)) < 500


def test_a_file_that_names_others_is_read_alone(tmp_path: Path) -> None:
    """OME-XML may name other files; tifffile follows it where whole series are asked for."""
    secret = np.full((8, 8), 7, np.uint16)
    (tmp_path / "secret.tif").write_bytes(tiff(secret))
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" '
        'SizeZ="1" SizeC="1" SizeT="1" ID="Pixels:0"><TiffData IFD="0"><UUID FileName='
        '"secret.tif">urn:uuid:0</UUID></TiffData></Pixels></Image></OME>'
    )
    own = picture((8, 8), 12)
    file = tmp_path / "named.ome.tif"
    tifffile.imwrite(file, own, photometric="minisblack", description=xml, metadata=None)
    np.testing.assert_array_equal(read_image(file, (8, 8)), own)


@given(st.data())
def test_damaged_tiff_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    shape = (9, 7, *data.draw(st.sampled_from([(), (3,), (5,)])))
    values = picture(shape, 12).astype(data.draw(st.sampled_from([np.uint16, np.int32])))
    way = data.draw(st.sampled_from(["plain", "tiles", "deflate", "big-endian"]))
    file = bytearray(tiff(values, **WAYS[way]))
    for place in data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1)):
        file[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(file)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NarrowsWarning)
            assert read_image(bytes(file[:cut]), shape).shape == shape
    except UnreadableFileError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) <= 500  # noqa: PT017


# Types brought together.


def test_types_are_brought_together_or_refused() -> None:
    names = {
        np.dtype(kind): f"{kind}.tif"
        for kind in ["u1", "u2", "i1", "i2", "i4", "u4", "f2", "f4", "f8"]
    }

    def together(*kinds: str) -> str:
        return common_type({np.dtype(kind): names[np.dtype(kind)] for kind in kinds}).name

    assert together() == together("u1") == "uint8"
    assert together("u1", "u2") == "uint16"
    assert together("f2", "f4") == "float32"
    assert together("f4", "f8") == "float64"
    assert together("i2", "u2") == "int32"
    assert together("u2", "u4") == "uint32"
    assert together("i4", "u4") == "int64"
    for one, other in (("u1", "f4"), ("u2", "f4"), ("i2", "u1"), ("u1", "i4"), ("f8", "i4")):
        with pytest.raises(DataError, match=rf"'{one}\.tif' has .* and '{other}\.tif' .*in one"):
            together(one, other)


def test_shades_are_brought_to_each_other_by_white() -> None:
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(bring(every, "u2"), every * 257.0)
    np.testing.assert_array_equal(bring(bring(every, "u2"), "u1"), every)
    deep = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(bring(deep, "u1"), np.floor(deep / 257 + 0.5))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    write(folder, np.stack([picture((8, 9), 8, seed=s) for s in range(3)]).astype(np.uint8))
    (folder / "deep.png").write_bytes(png16(picture((8, 9), 16)))
    return folder


def test_a_mixture_of_depths_is_read_in_the_widest_and_that_is_said(mixed: Path) -> None:
    message = r"several types \(3 uint8, 1 uint16\) are read as uint16; 8-bit .* by 257"
    with pytest.warns(NarrowsWarning, match=message) as caught:
        rows = read(mixed)
    assert caught[0].message.kind == "depths_mixed"
    assert caught[0].message.facts == {"counts": {"uint8": 3, "uint16": 1}, "read_as": "uint16"}
    assert rows.values.dtype == np.uint16
    np.testing.assert_array_equal(rows.values[0], picture((8, 9), 8, seed=0) * 257)
    np.testing.assert_array_equal(rows.values[3], picture((8, 9), 16))
    (mixed / "float.tif").write_bytes(tiff(np.ones((8, 9), np.float32)))
    with pytest.raises(DataError, match=r"no common black and white; give files of one type"):
        read(mixed)


def test_only_files_of_the_same_other_channels_go_together(tmp_path: Path) -> None:
    five, four = picture((8, 9, 5), 8).astype(np.uint8), picture((8, 9, 4), 8).astype(np.uint8)
    for name, values, options in (
        ("five", five, {}),
        ("more", five, {}),
        ("rgbx", four, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tif").write_bytes(tiff(values, **options))
    five_and_more = [tmp_path / "five" / "a.tif", tmp_path / "more" / "a.tif"]
    assert choose_sample_shape(five_and_more) == (8, 9, 5)
    rows, _, _ = read_images(five_and_more, (8, 9, 5))
    np.testing.assert_array_equal(rows, [five, five])
    with pytest.raises(ParameterError, match="5 channels, which are neither grey nor red"):
        choose_sample_shape(five_and_more, color=True)
    assert choose_sample_shape([tmp_path / "rgbx" / "a.tif"]) == (8, 9, 4)
    colour = tmp_path / "colour.png"
    colour.write_bytes(encode_png(four[:, :, :3]))
    with pytest.raises(DataError, match="other files have other channels"):
        choose_sample_shape([*five_and_more, colour])
    assert choose_sample_shape([tmp_path / "rgbx" / "a.tif", colour]) == (8, 9, 3)
    with pytest.warns(NarrowsWarning, match="1 file with channels beyond red, green and blue"):
        rows, _, _ = read_images([tmp_path / "rgbx" / "a.tif", colour], (8, 9, 3))
    np.testing.assert_array_equal(rows[0], rows[1])


# Files for a model that learned from others.


def learned(values: NDArray[Any]) -> Scaling:
    return Scaling.learn("auto", Statistics.of(values))


def test_the_range_is_learned_from_the_pictures() -> None:
    scaling = learned(100 + 2 * picture((9, 8, 8), 8))
    assert (scaling.low, scaling.high, scaling.dtype) == (100, 610, "uint16")
    assert scaling.file_type == np.uint16
    np.testing.assert_array_equal(
        scaling.to_pixels(np.array([90.0, 100, 355, 610, 700])), [0, 0, 128, 255, 255]
    )


def test_files_for_a_model_of_the_same_type_are_what_they_are() -> None:
    for kind in ("u1", "u2", "i2", "i4", "u4", "f2", "f4", "f8"):
        values = picture((5, 8, 8), 12).astype(kind)
        scaling = learned(values)
        np.testing.assert_array_equal(scaling.from_file(values), values)
        assert scaling.from_file(values).dtype == scaling.file_type


def test_shades_for_a_model_of_other_shades_keep_white_or_are_refused() -> None:
    wide, narrow = learned(picture((5, 8, 8), 16)), learned(picture((5, 8, 8), 12))
    eight = learned(picture((5, 8, 8), 8).astype(np.uint8))
    bytes_, words = np.array([[0, 7, 255]], np.uint8), np.array([[0, 300, 65535]], np.uint16)
    assert wide.from_file(bytes_).tolist() == [[0, 7 * 257, 65535]]
    assert eight.from_file(words).tolist() == [[0, 1, 255]]
    with pytest.raises(DataError, match=r"16-bit pictures that reach 4095 of 65535"):
        narrow.from_file(bytes_)
    floats = learned(np.random.default_rng(0).random((5, 8, 8), np.float32))
    np.testing.assert_allclose(floats.from_file(bytes_), bytes_ / 255, rtol=1e-6)
    np.testing.assert_allclose(floats.from_file(words), words / 65535, rtol=1e-6)
    for values in (np.ones((1, 3), np.float32), np.ones((1, 3), np.int16)):
        for scaling in (wide, eight):
            with pytest.raises(DataError, match="no common black and white with uint"):
                scaling.from_file(values)
    counts = learned(picture((5, 8, 8), 12).astype(np.int32) - 100)
    assert counts.from_file(words).tolist() == words.tolist()


def test_masks_of_zeros_and_ones_are_read_by_either_convention() -> None:
    masks = learned(picture((5, 8, 8), 1).astype(np.uint8))
    given = np.array([[0, 1, 1], [0, 255, 128], [0, 0, 0]], np.uint8)
    np.testing.assert_allclose(masks.from_file(given), [[0, 1, 1], [0, 1, 128 / 255], [0, 0, 0]])
