"""``narrows pack`` and ``index``: pictures made ready, to learn from or to be matched."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli import options
from narrows.cli.console import answer, note, one_answer, progress, recall_record
from narrows.cli.exchange import load_for, options_by_file, reading_record, report_skipped
from narrows.containment import is_file, is_folder
from narrows.data.formats import IMAGE_SUFFIXES
from narrows.texts import counted

if TYPE_CHECKING:
    from narrows.library.ivf_build import Recall


@options.verb("pack")
@click.argument("photos", type=options.PATH, metavar="PHOTOS")
@options.to("The dataset: data.lance.")
@options.pictures
@options.folder
def pack(
    *,
    photos: Path,
    to: Path,
    pictures: dict[str, Any],
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Decode a folder of pictures once, into a Lance dataset to learn from.

    "narrows train" and the other verbs take the dataset as they take the folder, read it from the
    disk, and decode nothing again. If this is stopped in whatever way, the same command goes on.
    """
    import narrows

    with progress("packing") as advance:
        packed = narrows.pack(
            photos, to, **pictures, **reading, overwrite=overwrite, progress=advance
        )
    if packed.resumed:
        note(f"{counted(packed.resumed, 'picture')} had been packed before")
    report_skipped(packed.skipped)
    record = {
        "output": to,
        "rows": packed.count,
        "sample_shape": packed.sample_shape,
        "resumed": packed.resumed,
        **reading_record(packed),
    }
    shape = " x ".join(map(str, packed.sample_shape))
    answer(record, f"{counted(packed.count, 'picture')} of {shape} in {to}")


@options.verb("index")
@click.argument("paths", type=options.PATH, nargs=-1, required=True, metavar="[MODEL] DATA")
@options.encoder
@options.to("The folder of the library.")
@click.option(
    "--add", is_flag=True, help="Add what is new to the library where there is one already."
)
@click.option(
    "--reference",
    is_flag=True,
    help="Leave the files where they are, and keep their paths and thumbnails.",
)
@click.option(
    "--metadata",
    type=options.PATH,
    metavar="FILE",
    help="A table ({text_tables}, .parquet) with a row for each picture: its column path, file, "
    "file_name or filename says which, the others are kept with it.",
)
@click.option(
    "--approximate",
    is_flag=True,
    help="Build the index of approximate searches as well (needs narrows[faiss]). With --ray, that "
    "is done for more than a million pictures where all have FAISS.",
)
@options.ray("Read, encode, write and index")
@options.reading
def index(
    *,
    paths: tuple[Path, ...],
    encoder: dict[str, Any],
    to: Path,
    add: bool,
    reference: bool,
    metadata: Path | None,
    approximate: bool,
    ray: str | None,
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Build a library of pictures that can be matched.

    The library holds the pictures, their codes and a copy of the model: nothing else is needed
    to match, unless --reference leaves the pictures where they are. With --add, the model has to
    be the one that made the codes of the library, or may be left out.

    Without MODEL, the matcher that ships with Narrows makes the codes ("narrows info --built-in").
    With --encoder, the network of an ONNX file that was trained elsewhere takes the model's place.

    With --ray, the workers have to see DATA and the library: on a disk that all machines share, or
    s3://bucket/pictures.lance.
    """
    from contextlib import nullcontext

    from narrows import Library
    from narrows.atomic import explain_os_errors
    from narrows.data.decoding import warn_of_resized
    from narrows.errors import NarrowsError, OutputExistsError, ParameterError
    from narrows.library.ivf_build import PACKAGES, faiss_module, is_installed
    from narrows.library.search import is_large
    from narrows.remote import place
    from narrows.scale.cluster import ray_workers

    if add and overwrite:
        raise ParameterError("--add keeps what is there and --overwrite replaces it; give one")
    models, data = _split(paths, encoder)
    options_by_file(reading, [data, metadata])
    if approximate:
        faiss_module()
    where = place(to)
    with explain_os_errors(to):
        exists = where.exists()
    if exists and not add and not overwrite:
        raise OutputExistsError(
            f"'{where}' exists already; add to it (--add), replace it (--overwrite) or choose "
            "another name"
        )
    made_by = _made_by(models, encoder, data, reading["exclude"], may_be_known=add and exists)
    connected = nullcontext() if ray is None else ray_workers(ray)
    with one_answer(), connected as workers:
        if approximate and workers is not None:
            workers.check([], PACKAGES)
        with progress("indexing") as advance:
            how: dict[str, Any] = {
                **reading,
                "metadata": metadata,
                "store": "references" if reference else "pictures",
                "progress": advance,
                "workers": workers,
            }
            if add and exists:
                library = Library.open(where, **made_by)
                added = library.add(data, **how)
            else:
                library, added = Library.build(where, data, **made_by, overwrite=overwrite, **how)
        report_skipped(added.skipped)
        described = _described(library.model)
        if added.resized is not None and not described:
            warn_of_resized(data, added.resized, learned=True)
        recall: Recall | None = None
        if approximate or (workers is not None and is_large(library) and is_installed()):
            note("building the approximate index")
            try:
                recall = library.build_index(workers=workers)
            except NarrowsError as error:
                known = f"{counted(added.count, 'picture')} added, {len(library)} in {where}"
                if approximate:
                    raise type(error)(f"{known}, but there is no index: {error}") from error
                note(f"there is no index: {error}")
    record = {
        "output": str(where),
        "added": added.count,
        "present": added.present,
        "rows": len(library),
        **reading_record(added),
        **described,
        **({} if recall is None else recall_record({"euclidean": recall})),
    }
    present = f", {added.present} already there" if added.present else ""
    answer(
        record,
        f"{counted(added.count, 'picture')} added{present}, {len(library)} in {where}",
        *([] if recall is None else _recall_lines(recall)),
    )


def _split(paths: tuple[Path, ...], encoder: dict[str, Any]) -> tuple[list[Path], Path]:
    """Tell the model's path, if there is one, from that of the data."""
    from narrows.errors import ParameterError

    *models, data = paths
    if len(models) > 1:
        raise ParameterError(
            f"{len(paths)} paths were given: {', '.join(map(str, paths[:4]))}; give a model and "
            "the data, or --encoder and the data"
        )
    if models and encoder:
        raise ParameterError(
            f"the model '{models[0]}' and the encoder '{encoder['path']}' were given, and one of "
            "them makes the codes; leave one out"
        )
    return models, data


def _made_by(
    models: list[Path],
    encoder: dict[str, Any],
    data: Path,
    exclude: Sequence[str],
    *,
    may_be_known: bool,
) -> dict[str, Any]:
    """Load what makes the codes, as an argument of the library; nothing where it knows that."""
    from narrows import PictureEncoder
    from narrows.builtin import matcher
    from narrows.data.decoding import side_by_side
    from narrows.data.files import holds_rows
    from narrows.errors import ParameterError, warn
    from narrows.storage import is_model

    if encoder:
        return {"encoder": PictureEncoder.from_onnx(**encoder)}
    if models:
        model = load_for(models[0], "transform")
        return {"encoder" if isinstance(model, PictureEncoder) else "model": model}
    if may_be_known:
        return {}
    if is_model(data):
        raise ParameterError(
            f"'{data}' is a model, and there is nothing to index; give the data after it"
        )
    is_rows = is_file(data) and data.suffix.lower() not in IMAGE_SUFFIXES
    if is_rows or (is_folder(data) and holds_rows(data, exclude)):
        raise ParameterError(
            f"the matcher that ships with Narrows takes picture files, and '{data}' holds rows; "
            f"give a model before it (narrows train '{data}' -o MODEL)"
        )
    chosen = matcher()
    size = side_by_side(chosen.sample_shape_[:2])
    warn(
        f"the matcher that ships with Narrows makes the codes, from {size} pixels in colours (grey "
        "ones three times); they find copies and pictures of similar layout and colour; a model "
        "trained on these pictures "
        f"(narrows train '{data}' --for matching -o MODEL) or an encoder (--encoder "
        "FILE.onnx) finds more",
        kind="built_in_matcher",
        stacklevel=2,
    )
    return {"model": chosen}


def _described(model: Any) -> dict[str, Any]:
    """Describe what made the codes where it does not come from a run of Narrows of one's own."""
    from narrows import PictureEncoder
    from narrows.builtin import matcher

    if isinstance(model, PictureEncoder):
        return {"encoder": model.describe()}
    return {"built_in": "matcher"} if model.fingerprint_ == matcher().fingerprint_ else {}


def _recall_lines(recall: "Recall") -> list[str]:
    return [
        f"approximate search finds {100 * share:.4g} % of the {k} nearest, for rows with noise "
        f"{100 * recall.disturbed[k]:.4g} %"
        for k, share in recall.items()
    ]
