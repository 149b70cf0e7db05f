"""Folders of Parquet files whose names are columns: ``year=2020/month=1/part.parquet`` (Hive)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from narrows.data.folders import Entries, Listing, list_files
from narrows.data.marks import Marks
from narrows.data.numbers import shown
from narrows.data.options import is_text_table
from narrows.data.text import listed
from narrows.errors import DataError, warn

_PARQUET = ".parquet"


@dataclass(frozen=True)
class Partitions:
    """What the folders say of the rows in their files.

    Attributes
    ----------
    names : list of str
        Columns that hold numbers.
    values : ndarray of shape (n_files, n_columns), float64
        The numbers, of each file.
    texts : list of str
        Columns that hold anything else, which are left out.
    inside : list of str
        Columns that the files hold themselves, whose values are the ones that count.
    """

    names: list[str]
    values: NDArray[np.float64]
    texts: list[str]
    inside: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, paths: Sequence[Path]) -> "Partitions":
        """Read them from the files' paths.

        Raises
        ------
        DataError
            If not all files lie in folders of the same columns.
        """
        pairs = [_pairs(folder, path) for path in paths]
        keys = [key for key, _ in pairs[0]]
        for path, own in zip(paths, pairs, strict=True):
            if [key for key, _ in own] != keys:
                raise DataError(
                    f"'{folder}' holds '{paths[0].relative_to(folder)}' and "
                    f"'{path.relative_to(folder)}', whose folders name different columns; give a "
                    "folder that is partitioned alike throughout"
                )
        texts, names, columns = [], [], []
        for place, key in enumerate(keys):
            numbers = [Marks().value(own[place][1]) for own in pairs]
            if None in numbers:
                texts.append(key)
            else:
                names.append(key)
                columns.append(np.array(numbers, np.float64))
        values = np.stack(columns, 1) if columns else np.empty((len(paths), 0))
        return cls(names, values, texts)

    def without(self, names: Sequence[str]) -> "Partitions":
        """Leave out the columns that the files hold themselves."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        return Partitions(
            [self.names[place] for place in kept],
            self.values[:, kept],
            [name for name in self.texts if name not in names],
            [name for name in [*self.names, *self.texts] if name in names],
        )

    def tell(self, folder: Path) -> None:
        """Say which columns the folders' names became, and which were left out."""
        said = []
        if self.names:
            said.append(f"{_listed(self.names)} taken from the names of its folders")
        if self.texts:
            said.append(f"{_listed(self.texts)} left out, as not all values are numbers")
        if self.inside:
            said.append(f"{_listed(self.inside)} taken from inside the files, not from the folders")
        if said:
            warn(
                f"'{folder}' is partitioned: {', '.join(said)}; give one of its files for its own "
                "columns alone",
                kind="partitions",
                stacklevel=4,
                taken=self.names,
                left_out=self.texts,
                inside=self.inside,
            )


def find_parts(
    folder: Path, exclude: str | Sequence[str] = (), seen: Entries | None = None
) -> tuple[Listing, bool]:
    """List the Parquet files of a folder, sorted, and tell whether it is partitioned.

    Parameters
    ----------
    folder : Path
    exclude : str or sequence of str
        Patterns of files and folders that are left out.
    seen : dict, optional
        As of :func:`narrows.data.folders.list_files`.

    Raises
    ------
    DataError
        If some lie in the folder itself and others in partitions.
    """
    own = list_files(folder, [_PARQUET], exclude=exclude, deep=False, seen=seen)
    if not any("=" in name for name in own.left_out.deeper):
        return own, False
    found = list_files(folder, [_PARQUET], exclude=exclude, seen=seen)
    parts = [path for path in found.files if _is_in_partition(path.relative_to(folder))]
    if own.files and parts:
        raise DataError(
            f"'{folder}' holds '{own.files[0].name}' and '{parts[0].relative_to(folder)}', of "
            "which one is in a partition and the other is not; move one of them to a folder of its "
            "own"
        )
    if not parts:
        return own, False
    found.left_out.deeper += [name for name in own.left_out.deeper if "=" not in name]
    return Listing(parts, found.left_out), True


def explain_folder(folder: Path) -> str | None:
    """Say what to do with a folder of tables that are not read together; None if there are none."""
    tables = sorted(path for path in folder.iterdir() if is_text_table(path))
    if tables:
        names = [path.name for path in tables]
        return (
            f"'{folder}' holds {len(tables)} text tables ({_listed(names)}), which are not put "
            "together; give one of them, or join their rows in one file"
        )
    deep = sorted({path.parent.relative_to(folder) for path in folder.glob(f"*/*{_PARQUET}")})
    if deep:
        return (
            f"'{folder}' holds Parquet files in folders of its own ({_listed(map(str, deep))}) "
            "that are no partitions, such as year=2020; give one of these folders"
        )
    return None


def _listed(names: Iterable[str]) -> str:
    return listed(shown(name)[1:-1] for name in names)


def _is_in_partition(path: Path) -> bool:
    """Tell whether all folders of a relative path are partitions, and no name begins with _."""
    *folders, _ = path.parts
    hidden = any(part.startswith("_") for part in path.parts)
    return bool(folders) and all("=" in part for part in folders) and not hidden


def _pairs(folder: Path, path: Path) -> list[tuple[str, str]]:
    parts = (part.split("=", 1) for part in path.relative_to(folder).parts[:-1])
    return [(unquote(key), unquote(value)) for key, value in parts]
