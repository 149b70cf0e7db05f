"""Pictures of every kind come in upright, opaque, in eight bits and of one size, or say why not."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from picture_kit import read_images
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from narrows.data.depths import encode_png
from narrows.data.images import choose_sample_shape, list_images, read_image
from narrows.errors import (
    DataError,
    MissingFileError,
    NarrowsError,
    ParameterError,
    UnreadableFileError,
)

GREY = np.add.outer(np.arange(12) * 13, np.arange(20) * 5).astype(np.uint8)
COLORS = np.stack([GREY, 255 - GREY, GREY[::-1]], axis=-1)

# What EXIF says of the stored picture, undone: orientation -> the picture as it is looked at.
UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def write(path: Path, pixels: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))
    return path


def tiff_of(values: NDArray[Any], **options: Any) -> bytes:
    file = BytesIO()
    options.setdefault("photometric", "rgb" if values.shape[2:] == (3,) else "minisblack")
    if values.ndim == 3:
        options.setdefault("planarconfig", "contig")
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


@given(
    hnp.arrays(
        np.uint8,
        st.one_of(
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda side: (*side, 3)),
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda side: (*side, 1)),
        ),
    )
)
def test_png_of_the_size_wanted_gives_back_its_very_pixels(pixels: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(read_image(encode_png(pixels), pixels.shape), pixels)


def test_opaque_modes_are_what_they_look_like() -> None:
    black_and_white = np.where(GREY > 90, 255, 0).astype(np.uint8)
    one_bit = Image.fromarray(black_and_white).convert("1")
    np.testing.assert_array_equal(read_image(saved(one_bit, "PNG"), GREY.shape), black_and_white)
    palette = Image.fromarray(GREY // 16 * 16).convert("RGB").quantize(256, dither=0)
    np.testing.assert_allclose(read_image(saved(palette, "GIF"), GREY.shape), GREY // 16 * 16)
    # CMYK keeps (255 - ink) without black, which is how Pillow makes it from RGB.
    cmyk = Image.fromarray(COLORS).convert("CMYK")
    np.testing.assert_array_equal(read_image(saved(cmyk, "TIFF"), COLORS.shape), COLORS)
    grey_of_colors = COLORS @ np.array([0.299, 0.587, 0.114])
    read = read_image(saved(Image.fromarray(COLORS), "PNG"), GREY.shape)
    np.testing.assert_allclose(read, grey_of_colors, atol=1)
    read = read_image(saved(Image.fromarray(GREY), "PNG"), COLORS.shape)
    np.testing.assert_array_equal(read, np.repeat(GREY[..., None], 3, axis=-1))


def test_lab_is_seen_in_colours_and_in_grey() -> None:
    # CIE L*a*b*: a neutral grey has a = b = 0; sRGB's middle grey of 119 has L* of about 50.
    # The file holds a and b as signed bytes; Pillow holds them with 128 added.
    file = saved(Image.new("LAB", (2, 2), (128, 128, 128)), "TIFF")
    assert bytes([128, 0, 0] * 4) in file
    np.testing.assert_allclose(read_image(file, (2, 2, 3)), 119, atol=3)
    np.testing.assert_allclose(read_image(file, (2, 2)), 119, atol=3)


def test_transparent_parts_are_white() -> None:
    alpha = np.linspace(0, 255, GREY.size).astype(np.uint8).reshape(GREY.shape)
    over_white = lambda a: 255 + (a.astype(float) - 255) * (alpha / 255)  # noqa: E731
    expected = np.stack([over_white(COLORS[..., i]) for i in range(3)], axis=-1)
    rgba = Image.fromarray(np.dstack([COLORS, alpha]))
    np.testing.assert_allclose(read_image(saved(rgba, "PNG"), COLORS.shape), expected, atol=1)
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    np.testing.assert_allclose(read_image(saved(la, "PNG"), GREY.shape), over_white(GREY), atol=1)
    palette = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2)).convert("P")
    palette.putpalette([0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90])
    read = read_image(saved(palette, "PNG", transparency=2), (2, 2, 3))
    assert read.tolist() == [[[0, 0, 0], [10, 20, 30]], [[255, 255, 255], [70, 80, 90]]]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_upright(tmp_path: Path, form: str, orientation: int) -> None:
    corners = np.kron([[0, 80], [255, 160]], np.ones((80, 96))).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = saved(Image.fromarray(corners), form, exif=exif)
    upright = UPRIGHT[orientation](corners)
    small = read_image(file, (4, 6))
    expected = np.asarray(Image.fromarray(np.ascontiguousarray(upright)).resize((6, 4)))
    np.testing.assert_allclose(small, expected, atol=8)
    path = tmp_path / "picture"
    path.write_bytes(file)
    np.testing.assert_array_equal(read_image(path, (4, 6)), small)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_turned_pictures_keep_their_upright_size(tmp_path: Path, form: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "turned"
    path.write_bytes(saved(Image.fromarray(GREY), form, exif=exif))
    assert choose_sample_shape([path], color=False) == (20, 12)


def test_damaged_exif_data_do_not_matter() -> None:
    image = Image.fromarray(GREY)
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        file = saved(image, "JPEG", exif=exif, quality=95)
        np.testing.assert_allclose(read_image(file, GREY.shape), GREY, atol=8)
    notes = PngInfo()
    notes.add_text("Raw profile type exif", "\nexif\n4\nnonsense")
    np.testing.assert_array_equal(read_image(saved(image, "PNG", pnginfo=notes), GREY.shape), GREY)


def test_shrinking_does_not_alias() -> None:
    chequers = np.indices((512, 384)).sum(axis=0) % 2 * 255
    for form in ("PNG", "BMP"):
        small = read_image(saved(Image.fromarray(chequers.astype(np.uint8)), form), (8, 6))
        np.testing.assert_allclose(small, 127.5, atol=2)


def test_jpeg_decoded_small_looks_like_one_decoded_whole() -> None:
    y, x = np.mgrid[:481, :321] / 60  # sides that eight does not divide
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=-1) * 100 + 128
    file = saved(Image.fromarray(waves.astype(np.uint8)), "JPEG", quality=95)
    whole = Image.open(BytesIO(file)).resize((30, 40), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(read_image(file, (40, 30, 3)), np.asarray(whole), atol=6)


def test_all_ways_of_reading_give_the_same_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = []
    for index in range(40):  # more than a thread takes at once
        pixels = rng.integers(0, 256, (70 + index, 90, 3), dtype=np.uint8)
        path = tmp_path / f"{index:02}.{'jpg' if index % 2 else 'png'}"
        Image.fromarray(pixels).save(path)
        files.append(path)
    calls: list[tuple[int, int]] = []
    pixels, read, skipped = read_images(
        files, (16, 24, 3), progress=lambda *done: calls.append(done)
    )
    assert read == files
    assert skipped == []
    assert calls == sorted(calls)
    assert calls[-1] == (40, 40)
    for row, path in zip(pixels, files, strict=True):
        np.testing.assert_array_equal(row, read_image(path, (16, 24, 3)))
        np.testing.assert_array_equal(row, read_image(path.read_bytes(), (16, 24, 3)))


@given(st.data())
def test_truncated_pictures_are_refused_in_one_line(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]))
    file = saved(Image.fromarray(COLORS), form)
    cut = data.draw(st.integers(0, len(file) // 2))
    with pytest.raises(UnreadableFileError, match=r"^the picture in memory is not .*; repair it"):
        read_image(file[:cut], COLORS.shape)


@given(st.data())
def test_damaged_pictures_are_read_or_refused_in_one_line(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"]))
    file = bytearray(saved(Image.fromarray(COLORS), form))
    for place in data.draw(st.lists(st.integers(0, min(len(file), 300) - 1), min_size=1)):
        file[place] = data.draw(st.integers(0, 255))
    try:
        assert read_image(bytes(file), COLORS.shape).shape == COLORS.shape
    except UnreadableFileError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_lying_files_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"<html>not found</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        path = tmp_path / "lying.png"
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match=r"lying\.png' is not a readable picture"):
            read_image(path, (4, 4))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "GIF", "WEBP", "BMP", "PPM", "AVIF", "JPEG2000"])
@pytest.mark.cases
def test_decompression_bombs_are_refused(tmp_path: Path, form: str) -> None:
    if form not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow has no {form}")
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(saved(Image.new("L" if form != "AVIF" else "RGB", (120, 90)), form))
    message = r"bomb\.png'.*: 120 x 90 pixels would be unpacked, more than the 10799 .*--max-pixels"
    with pytest.raises(UnreadableFileError, match=message):
        read_image(bomb, (4, 4), max_pixels=10799)
    with pytest.raises(UnreadableFileError, match=r"bomb\.png'.*--skip-unreadable"):
        read_images([bomb], (4, 4), max_pixels=10799)
    assert read_image(bomb, (4, 4), max_pixels=10800).shape == (4, 4)


def test_deep_bombs_are_refused_before_they_are_unpacked() -> None:
    for dtype in (np.uint16, np.float32):
        for shape in ((120, 90), (120, 90, 3), (120, 90, 5)):
            file = tiff_of(np.zeros(shape, dtype), compression="zlib")
            with pytest.raises(UnreadableFileError, match=r"90 x 120 pixels would be unpacked"):
                read_image(file, (4, 4, *shape[2:]), max_pixels=10799)
    file = encode_png(np.zeros((120, 90, 3), np.uint16))
    with pytest.raises(UnreadableFileError, match=r"90 x 120 pixels would be unpacked"):
        read_image(file, (4, 4), max_pixels=10799)


@pytest.mark.cases
def test_jpeg_counts_at_the_size_at_which_it_is_decoded() -> None:
    """12000 x 8000 pixels are 96 million, above the bound; an eighth of each side is not."""
    panorama = saved(Image.new("L", (12000, 8000), 77), "JPEG")
    assert (read_image(panorama, (64, 64)) == 77).all()
    with pytest.raises(UnreadableFileError, match=r"6000 x 4000 pixels would be unpacked"):
        read_image(panorama, (2000, 3000), max_pixels=10**7)
    with pytest.raises(UnreadableFileError, match=r"12000 x 8000 pixels .* 89478485"):
        read_image(panorama, (8000, 8000))


@pytest.mark.parametrize("wrong", [0, -1, 2**31, 1.5, True, "many"])
def test_bounds_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ParameterError, match=r"max_pixels=.* allowed; .* 1 to 2147483647"):
        read_image(encode_png(GREY), (4, 4), max_pixels=wrong)


def test_first_unreadable_file_is_named(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i:02}.png", GREY) for i in range(40)]
    for bad in (21, 39):
        files[bad].write_bytes(files[bad].read_bytes()[:45])
    with pytest.raises(UnreadableFileError, match=r"21\.png' is .*; repair or remove it, or leave"):
        read_images(files, (4, 4))


def test_unreadable_files_are_left_out_on_request(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.png", np.full((3, 3), i, np.uint8)) for i in range(5)]
    for bad in (0, 3):
        files[bad].write_bytes(b"no")
    pixels, read, skipped = read_images(files, (1, 2), skip_unreadable=True)
    assert pixels.tolist() == [[[1, 1]], [[2, 2]], [[4, 4]]]
    assert [path.name for path in read] == ["1.png", "2.png", "4.png"]
    assert [path.name for path, _ in skipped] == ["0.png", "3.png"]
    assert all("none of the formats" in reason for _, reason in skipped)
    with pytest.raises(DataError, match=r"none of 2 pictures can be read; the first is .*0\."):
        read_images([files[0], files[3]], (1, 2), skip_unreadable=True)


def test_missing_files_are_missing_even_when_unreadable_ones_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "absent.png"
    with pytest.raises(MissingFileError, match=r"absent\.png' does not exist"):
        read_image(path, (4, 4))
    with pytest.raises(MissingFileError):
        read_images([path], (4, 4), skip_unreadable=True)
    with pytest.raises(MissingFileError):
        choose_sample_shape([path])


@pytest.mark.parametrize("shape", [(784,), (2, 2, 2, 3), ()])
def test_rows_that_are_no_pictures_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"pictures do not fit rows of shape \("):
        read_image(encode_png(GREY), shape)


def test_sample_shape_follows_the_pictures(tmp_path: Path) -> None:
    grey = write(tmp_path / "grey.png", GREY)
    same = write(tmp_path / "same.png", 255 - GREY)
    wider = write(tmp_path / "wider.png", GREY[:, :18])
    color = write(tmp_path / "color.png", COLORS)
    large = write(tmp_path / "large.png", np.zeros((65, 20), np.uint8))
    largest_kept = write(tmp_path / "kept.png", np.zeros((64, 20), np.uint8))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"broken")
    palette = tmp_path / "palette.gif"
    Image.fromarray(COLORS).quantize().save(palette)
    grey_palette = tmp_path / "grey_palette.png"
    Image.fromarray(GREY).convert("RGB").quantize().save(grey_palette)
    expected: list[tuple[list[Path], tuple[int, ...]]] = [
        ([grey, same], (12, 20)),
        ([grey, wider], (64, 64)),
        ([grey, color], (12, 20, 3)),
        ([large, large], (64, 64)),
        ([largest_kept], (64, 20)),
        ([broken, grey], (12, 20)),
        ([broken], (64, 64)),
        ([palette], (12, 20, 3)),
        ([grey_palette], (12, 20)),
    ]
    for paths, shape in expected:
        assert choose_sample_shape(paths) == shape
    assert choose_sample_shape([grey], image_size=7) == (7, 7)
    assert choose_sample_shape([color], image_size=(3, 5)) == (3, 5, 3)
    assert choose_sample_shape([color, wider], color=False) == (64, 64)
    assert choose_sample_shape([grey, same], color=True) == (12, 20, 3)


def test_sixteen_bit_pictures_are_grey(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "deep.png")
    assert choose_sample_shape([tmp_path / "deep.png"]) == (3, 4)


@pytest.mark.parametrize("size", [0, -1, 2.5, "big", (3,), (3, 4, 3), (3, 0), True, None])
def test_sizes_that_are_none_are_refused(size: Any) -> None:
    with pytest.raises(ParameterError, match=r"image_size=.* is not allowed; give 'auto'"):
        choose_sample_shape([], image_size=size)
    with pytest.raises(ParameterError, match="color='blue' is not allowed"):
        choose_sample_shape([], color="blue")  # type: ignore[arg-type]


def test_folders_are_searched_through(tmp_path: Path) -> None:
    wanted = [tmp_path / name for name in ("B.JPG", "a.png", "sub/deep/c.tiff")]
    for path in (*wanted, tmp_path / ".hidden.png", tmp_path / ".cache" / "x.png"):
        write(path, GREY)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert list_images(tmp_path).files == sorted(wanted)


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pictures; .* ending in \.avif, \.bmp.*\.webp$"):
        list_images(tmp_path)
    with pytest.raises(MissingFileError, match="absent' does not exist"):
        list_images(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file' is not a folder"):
        list_images(tmp_path / "file")


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2), np.int16),
        np.zeros(4, np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((0, 2), np.uint8),
    ],
)
def test_what_is_no_picture_is_not_encoded(pixels: NDArray[Any]) -> None:
    with pytest.raises(NarrowsError, match=r"are not a picture; give uint8 or uint16 of shape"):
        encode_png(pixels)
