"""The contact sheet of ``narrows match --save``: pictures in their own proportions."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from narrows.cli.console import note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from narrows import Library
    from narrows.library import Item, Match

# The most queries and matches that one can still look at.
_MOST_DRAWN, _MOST_COLUMNS = 24, 12
_PIXELS = 400  # of a side at most: twice what is shown


def contact_sheet(
    library: "Library",
    queries: dict[str, Any],
    path: Path | None,
    names: Sequence[str],
    found: "list[list[Match]]",
    *,
    title: str,
) -> "Figure":
    """Draw queries and their matches in their own proportions.

    Below them is what codes decode to, where the library has a decoder.
    """
    from narrows.evaluation import contact_sheet as draw

    if len(names) > _MOST_DRAWN:
        note(f"the contact sheet shows the first {_MOST_DRAWN} of {len(names)} queries")
    names, found = names[:_MOST_DRAWN], found[:_MOST_DRAWN]
    model: Any = library.model
    has_decoder = decodes(library)
    replaced: dict[int, str] = {}
    pictures = _of_queries(library, queries, path, names, replaced)
    shown = [
        [
            SimpleNamespace(
                distance=match.distance,
                path=match.path,
                picture=_preview(match, replaced),
                decoded=model.scaling_.to_pixels(match.decoded) if has_decoder else None,
            )
            for match in matches[:_MOST_COLUMNS]
        ]
        for matches in found
    ]
    if replaced:
        more = f" (and {len(replaced) - 1} more)" if len(replaced) > 1 else ""
        note(f"the contact sheet shows {next(iter(replaced.values()))}{more}")
    decoded: Any = None
    if has_decoder:
        codes = queries.get("codes")
        if codes is None:
            ids = queries.get("ids", ())[: len(names)]
            rows = library.read(ids) if ids else queries["query"][: len(names)]
            codes = model.transform(rows)
        decoded = model.scaling_.to_pixels(model.inverse_transform(codes[: len(names)]))
    return draw(
        pictures or decoded,
        decoded,
        shown,
        names=names,
        limits=(0, 255),
        title=title,
    )


def decodes(library: "Library") -> bool:
    """Return whether the library's model restores pictures from codes."""
    from narrows import Encoder, PictureEncoder

    return not isinstance(library.model, Encoder | PictureEncoder)


def _of_queries(
    library: "Library",
    queries: dict[str, Any],
    path: Path | None,
    names: Sequence[str],
    replaced: dict[int, str],
) -> list[Any] | None:
    """Return pictures of queries in 8 bits: of files, the library, or rows; None of codes."""
    from narrows.data.decoding import preview
    from narrows.data.image_codec import DefectError, quietly
    from narrows.data.reading import parse, split_name
    from narrows.errors import MissingFileError
    from narrows.texts import as_name

    if "codes" in queries:
        return None
    if "ids" in queries:
        return [_preview(item, replaced) for item in library.items(queries["ids"][: len(names)])]
    scaling: Any = library.model.scaling_
    pictures = []
    for row, name in zip(queries["query"], names, strict=False):
        is_folder = path is not None and path.is_dir()
        file = f"{path}/{as_name(name)}" if is_folder else f"{path}{split_name(name)[1]}"
        try:
            with quietly():
                pictures.append(preview(parse(file), scaling.show, side=_PIXELS))
        except (DefectError, MissingFileError):  # the rows of an array, or of a packed dataset
            pictures.append(scaling.to_pixels(row))
    return pictures


def _preview(item: "Item", replaced: dict[int, str]) -> Any:
    """Return a picture of the library: by its thumbnail where its file is missing.

    What is shown instead is added to ``replaced``.
    """
    import numpy as np

    from narrows.errors import MissingFileError, NarrowsError, UnreadableFileError

    try:
        return item.preview(_PIXELS)
    except (MissingFileError, UnreadableFileError) as error:
        try:
            picture, what = item.thumbnail, "the thumbnail"
        except NarrowsError:
            picture, what = np.full((1, 1), 255, np.uint8), "a blank instead"
        replaced[item.id] = f"{what} of picture {item.id}: {error}"
        return picture
