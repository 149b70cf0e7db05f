"""A model on disk: a folder with ``narrows.json`` and one safetensors file for each half.

The folder holds no code. The JSON file (the manifest) names the files of weights, whose names carry
the hash of their contents: replacing the manifest in one step replaces the model, and a crash
leaves the old one or the new one.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from narrows.atomic import (
    atomic_file,
    atomic_folder,
    check_output,
    explain_os_errors,
    remove_abandoned,
)
from narrows.containment import (
    IrregularFileError,
    check_fits,
    check_inside,
    parse_json,
    read_regular,
)
from narrows.errors import FormatError, MissingFileError, OutputError, OutputExistsError
from narrows.remote import Place, place

FORMAT_VERSION = 1
MANIFEST = "narrows.json"

# The packages whose versions each manifest has.
PACKAGES = ("narrows", "torch", "numpy", "scikit-learn")

Parts = Mapping[str, Mapping[str, Tensor]]
Half = tuple[str | Path, Mapping[str, Any], Parts]

# The key of the manifest of one half of a model, while the other half is replaced, that holds the
# other half's path.
_PAIR = "replaced_with"
# The names that this module gives to files: it deletes no others in a folder.
_OWN_NAME = re.compile(r"[a-z]+-[0-9a-f]{12}\.(safetensors|onnx)|history(-layer-\d+)?\.(csv|png)")
# The names that a manifest may give to files: none of them leads out of the folder.
_FILE_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of folder that Narrows writes, and the words of messages about it.

    Attributes
    ----------
    what : str
        The name of what the folder holds.
    manifest : str
        The name of its JSON file.
    format, version
        The format and the version that this file states.
    older : tuple of int
        Older versions that are read as well.
    past : str
        The remedy for a version before these.
    most : int
        The largest size of this file, in bytes.
    first, made, again : str
        Parts of messages: how to get such a folder, how it was made, and how to make it anew.
    """

    what: str
    manifest: str
    format: str
    version: int
    most: int
    first: str
    made: str
    again: str
    older: tuple[int, ...] = ()
    past: str = ""

    def is_at(self, path: str | Place) -> bool:
        """Tell whether a folder is of this kind; one without permission to enter it is not."""
        try:
            return (place(path) / self.manifest).is_file()
        except OSError:
            return False

    def read(self, path: str | Place) -> dict[str, Any]:
        """Read a folder's JSON file; check its format and version, and that there are no links.

        Raises
        ------
        MissingFileError
            If there is nothing at ``path``.
        FormatError
            If something else is there, or the folder is damaged, without permission to read it, or
            of a newer version; if there is a symbolic link below it, or the JSON file is too large.
        StoreError
            If the folder is in an object store that does not answer, or refuses access.
        """
        path = place(path)
        if "\0" in str(path):
            raise MissingFileError(f"'{path}' is no path, as it holds NUL; name a {self.what}")
        try:
            facts = parse_json(self._contents(path / self.manifest))
        except IrregularFileError as error:
            raise self.damaged(path, str(error)) from error
        except PermissionError as error:
            raise FormatError(
                f"'{path}' must not be read: {error.strerror}; ask its owner for access, or name "
                f"a folder that a {self.what} {self.made}"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, FileNotFoundError) and not path.exists():
                raise MissingFileError(
                    f"there is no {self.what} '{path}'; check the path, or {self.first}"
                ) from error
            raise FormatError(
                f"'{path}' is not a {self.what} of Narrows: {self.manifest} is missing or "
                f"unreadable in it; name a folder that a {self.what} {self.made}"
            ) from error
        except ValueError as error:
            raise self.damaged(path, str(error)) from error
        if not isinstance(facts, dict) or facts.get("format") != self.format:
            raise FormatError(
                f"'{path}' is not a {self.what} of Narrows: its {self.manifest} does not say "
                f"'format': '{self.format}'; name a folder that a {self.what} {self.made}"
            )
        if facts.get("format_version") not in (*self.older, self.version):
            oldest = f"versions {self.older[0]} to" if self.older else "version"
            found = facts.get("format_version")
            is_past = type(found) is int and 0 < found < min((*self.older, self.version))
            remedy = self.past if is_past else f"install a newer Narrows, or {self.again}"
            raise FormatError(
                f"'{path}' has format version {found!r}, this Narrows reads {oldest} "
                f"{self.version}; {remedy}"
            )
        if isinstance(path, Path):
            check_inside(path)
        return facts

    def _contents(self, file: Place) -> bytes:
        if isinstance(file, Path):
            return read_regular(file, self.most)
        contents = file.read_bytes()
        if len(contents) > self.most:
            raise IrregularFileError(f"it is larger than {self.most:,} bytes")
        return contents

    def damaged(self, path: str | Place, reason: str) -> FormatError:
        """Make the error that tells why a folder's JSON file cannot be used."""
        why = " ".join(reason.split())[:200]
        return FormatError(
            f"'{place(path) / self.manifest}' is damaged: {why}; restore it from a copy, or "
            f"{self.again}"
        )


MODEL = Kind(
    what="model",
    manifest=MANIFEST,
    format="narrows-model",
    version=FORMAT_VERSION,
    most=2**25,
    first="train one first",
    made="was saved to",
    again="train again",
)


def is_model(path: str | Place) -> bool:
    """Tell whether a folder is a model of Narrows."""
    return MODEL.is_at(path)


def check_destination(path: str | Path, *, overwrite: bool) -> Path:
    """Refuse a folder to which :func:`write` could not write, before any work is done.

    Parameters
    ----------
    path, overwrite
        As for :func:`write`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputExistsError, OutputError, FormatError
        As :func:`write`.
    """
    path = check_output(path, overwrite=overwrite)
    with explain_os_errors(path):
        foreign = path.exists() and not is_model(path)
        if foreign and (not path.is_dir() or any(path.iterdir())):
            raise OutputExistsError(
                f"'{path}' is not a model of Narrows and is not replaced; choose another name"
            )
        if path.exists():
            check_inside(path)
    return path


def fingerprint(facts: Mapping[str, Any], parts: Parts) -> str:
    """Compute SHA-256 over a model's weights and the facts that decide their meaning.

    Parameters
    ----------
    facts : mapping
        The facts, in JSON types.
    parts : mapping of str to mapping of str to Tensor
        The tensors of each half.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode())
    for part in sorted(parts):
        digest.update(part.encode())
        digest.update(_serialise(parts[part]))
    return digest.hexdigest()


def write(
    path: str | Path,
    manifest: Mapping[str, Any],
    parts: Parts,
    *,
    overwrite: bool,
    notes: Mapping[str, bytes] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a model so that it appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        The folder.
    manifest : mapping
        The facts of a model, in JSON types; the format, the versions and the names of the weights'
        files are added.
    parts : mapping of str to mapping of str to Tensor
        The tensors, one file a part.
    overwrite : bool
        Whether a model that is there already is replaced. A folder that holds something else
        never is.
    notes : mapping of str to bytes, optional
        The contents of files for people, by their names; reading ignores them. Those of a model
        that is replaced are deleted.
    files : mapping of str to bytes, optional
        The contents of further files, by a word for each, with an ending unless they are
        safetensors files; :func:`read_file` reads them.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputExistsError
        If something is there that is not to be replaced.
    FormatError
        If there is a symbolic link in the model that is there, through which nothing is written.
    OutputError
        If the folder cannot be written, or the manifest would be too long to be read.
    """
    with _prepared(path, manifest, parts, overwrite=overwrite, notes=notes, files=files):
        pass  # the model takes its place as the block ends
    return Path(path)


def write_pair(first: Half, second: Half, *, overwrite: bool) -> None:
    """Write two halves of a model so that a new one never stands beside an old one.

    Both are written before one of them takes its place. While the first one does, a second one that
    is to be replaced cannot be opened; after a crash at that moment, opening it tells the remedy.

    Parameters
    ----------
    first, second : tuple
        The folder, the manifest and the tensors of each, as for :func:`write`.
    overwrite : bool
        Whether models that are there already are replaced.

    Raises
    ------
    OutputExistsError, FormatError, OutputError
        As :func:`write`; then both folders hold what they held.
    """
    manifest, other = Path(first[0], MANIFEST), Path(second[0], MANIFEST)
    with _prepared(*second, overwrite=overwrite):
        before, other_before = _contents_of(manifest), _contents_of(other)
        try:
            with _prepared(*first, overwrite=overwrite):
                if other_before is not None:
                    marker = {"format": MODEL.format, "format_version": FORMAT_VERSION}
                    marker_bytes = json.dumps({**marker, _PAIR: str(first[0])}).encode()
                    _replace(other, marker_bytes)
        except BaseException:
            if other_before is not None and _contents_of(manifest) == before:
                _replace(other, other_before)
            raise


def _name_of(part: str, digest: str) -> str:
    stem, _, ending = part.partition(".")
    return f"{stem}-{digest[:12]}.{ending or 'safetensors'}"


def _contents_of(file: Path) -> bytes | None:
    return read_regular(file, MODEL.most) if file.exists() else None


def _replace(file: Path, contents: bytes) -> None:
    with atomic_file(file, overwrite=True) as temporary:
        temporary.write_bytes(contents)


@contextmanager
def _prepared(
    path: str | Path,
    manifest: Mapping[str, Any],
    parts: Parts,
    *,
    overwrite: bool,
    notes: Mapping[str, bytes] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Iterator[None]:
    """Write a model under temporary names; it takes its place when the block ends."""
    path = check_destination(path, overwrite=overwrite)
    contents = {part: _serialise(tensors) for part, tensors in parts.items()} | dict(files or {})
    digests = {part: hashlib.sha256(data).hexdigest() for part, data in contents.items()}
    names = {part: _name_of(part, digest) for part, digest in digests.items()}
    complete = {
        "format": MODEL.format,
        "format_version": FORMAT_VERSION,
        **manifest,
        "versions": {name: version(name) for name in PACKAGES} | manifest.get("versions", {}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights": {p: {"file": names[p], "sha256": digests[p]} for p in parts},
    }
    if files:
        complete["files"] = {f: {"file": names[f], "sha256": digests[f]} for f in files}
    # In the order in which files take their places: the first one replaces the model.
    last = {MANIFEST: _manifest(path, complete), **(notes or {})}
    if not path.exists():
        with atomic_folder(path) as folder:
            for part, data in contents.items():
                (folder / names[part]).write_bytes(data)
            for name, data in last.items():
                (folder / name).write_bytes(data)
            yield
        return
    fresh = [path / name for name in names.values() if not (path / name).exists()]
    try:
        for part, data in contents.items():
            _replace(path / names[part], data)
        with ExitStack() as all_written:
            for name, data in reversed(last.items()):
                file = all_written.enter_context(atomic_file(path / name, overwrite=True))
                file.write_bytes(data)
            yield
    except BaseException:
        if _contents_of(path / MANIFEST) != last[MANIFEST]:
            for file in fresh:
                file.unlink(missing_ok=True)
        raise
    with explain_os_errors(path):
        for stale in path.iterdir():
            if _OWN_NAME.fullmatch(stale.name) and stale.name not in (*names.values(), *last):
                stale.unlink()
        remove_abandoned(path, lambda name: name == MANIFEST or bool(_OWN_NAME.fullmatch(name)))
        remove_abandoned(path.parent, lambda name: name == path.name)


def _manifest(path: Path, facts: Mapping[str, Any]) -> bytes:
    """Return the JSON file of a model, of a length that is read again."""
    contents = f"{json.dumps(facts, indent=2)}\n".encode()
    if len(contents) > MODEL.most:
        contents = json.dumps(facts, separators=(",", ":")).encode()
    if len(contents) > MODEL.most:
        raise OutputError(
            f"'{path}' would need a {MANIFEST} of {len(contents):,} bytes, of the {MODEL.most:,} "
            "that are read; train for fewer epochs, or on fewer columns"
        )
    return contents


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read a model's manifest and tensors, and check that they belong together.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    manifest : dict
        The contents of the JSON file.
    parts : dict of str to dict of str to Tensor
        The tensors of each half in the folder.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    FormatError
        If it is not a model, is damaged, or was written by a newer version.
    """
    path = Path(path)
    manifest = read_manifest(path)
    parts = {}
    for part, entry in manifest["weights"].items():
        try:
            parts[part] = load(read_file(path, entry))
        except SafetensorError as error:
            raise FormatError(
                f"'{path / entry['file']}' is not a safetensors file ({error}); train again"
            ) from error
    return manifest, parts


def read_manifest(path: str | Place) -> dict[str, Any]:
    """Read a model's JSON file, without the weights.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    dict
        Its "weights", "fingerprint", "created" and "versions" have the types that :func:`write`
        gives them.

    Raises
    ------
    MissingFileError, FormatError
        As :func:`read`.
    """
    manifest = MODEL.read(path)
    if _PAIR in manifest:
        raise FormatError(
            f"'{path}' was to be replaced together with '{str(manifest[_PAIR])[:150]}' by a split "
            "that was stopped; run the same command again (narrows split --overwrite)"
        )
    for name in ("weights", "files"):
        entries = manifest.get(name, {} if name == "files" else None)
        if not isinstance(entries, dict) or not all(
            isinstance(e, dict) and isinstance(e.get("sha256"), str) and is_file_name(e.get("file"))
            for e in entries.values()
        ):
            raise MODEL.damaged(path, f"its {name!r} do not name files with their SHA-256")
    for name in ("fingerprint", "created"):
        if not isinstance(manifest.get(name), str):
            raise MODEL.damaged(path, f"its {name!r} is {manifest.get(name)!r}, not a text")
    versions = manifest.get("versions")
    if not isinstance(versions, dict) or not all(isinstance(v, str) for v in versions.values()):
        raise MODEL.damaged(path, "its 'versions' do not name packages with their versions")
    names = manifest.get("feature_names_in")
    if names is not None and not (
        isinstance(names, list) and all(isinstance(name, str) for name in names)
    ):
        raise MODEL.damaged(path, "its 'feature_names_in' are not a list of texts, or null")
    return manifest


def packages_needed(manifest: Mapping[str, Any]) -> str:
    """Return the words for the packages beside Narrows that a model was made with."""
    others = [repr(name) for name in manifest.get("versions", {}) if name not in PACKAGES]
    return f"the package {' and '.join(others)}" if others else "the package that brings it"


@contextmanager
def explain_damage(what: str, path: str | Path) -> Iterator[None]:
    """Raise errors in the block, which builds a model of what was read, as a :class:`FormatError`.

    Parameters
    ----------
    what : str
        The name of what is built.
    path : str or Path
        The folder.

    Raises
    ------
    FormatError
        If something goes wrong, as the contents do not belong together.
    """
    try:
        yield
    except (
        KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200]
        raise FormatError(
            f"the {what} in '{path}' is damaged or of another version of Narrows "
            f"({type(error).__name__}: {reason}); copy its folder again, whole, or train again"
        ) from error


def check_fingerprint(found: str, manifest: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a model whose contents are not those that its manifest states.

    Raises
    ------
    FormatError
        If the fingerprints differ.
    """
    if found != manifest["fingerprint"]:
        raise FormatError(
            f"'{path}/{MANIFEST}' was altered: the {manifest['kind']}'s fingerprint is not the one "
            "it states; copy its folder again, whole, or train again"
        )


def is_file_name(name: object) -> bool:
    """Tell whether a manifest may give this name to a file: no path, and not hidden."""
    return isinstance(name, str) and _FILE_NAME.fullmatch(name) is not None


def read_file(path: Path, entry: Mapping[str, str]) -> bytes:
    """Read one file of a model.

    Parameters
    ----------
    path : Path
        The folder.
    entry : mapping
        The manifest's entry of the file: its name, and the SHA-256 of its contents.

    Raises
    ------
    FormatError
        If it is missing or damaged.
    """
    file = path / entry["file"]
    try:
        size = file.lstat().st_size
        check_fits(size, f"'{file}'", "copy the model's folder again, whole", FormatError)
        data = read_regular(file, size)
    except OSError as error:
        raise FormatError(
            f"'{file}' is missing or unreadable ({error.strerror or error}); "
            "copy the model's folder again, whole"
        ) from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise FormatError(
            f"'{file}' is damaged: {len(data)} bytes whose SHA-256 is not the one in {MANIFEST}; "
            "copy the model's folder again, whole"
        )
    return data


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    plain = {k: tensors[k].detach().cpu().contiguous() for k in sorted(tensors)}
    return save(plain)
