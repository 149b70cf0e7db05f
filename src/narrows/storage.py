"""A model on disk: a folder with ``narrows.json`` and one safetensors file for each half.

Nothing in it is code. The JSON names the weights' files, whose names carry their contents' hash:
replacing the JSON in one step replaces the model, and a crash leaves the old one or the new one.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from narrows.atomic import atomic_file, atomic_folder, check_output
from narrows.errors import FormatError, MissingFileError, OutputExistsError

FORMAT = "narrows-model"
FORMAT_VERSION = 1
MANIFEST = "narrows.json"

Parts = Mapping[str, Mapping[str, Tensor]]


def is_model(path: str | Path) -> bool:
    """Tell whether a folder looks like a model of Narrows."""
    return (Path(path) / MANIFEST).is_file()


def fingerprint(facts: Mapping[str, Any], parts: Parts) -> str:
    """Name a model by its contents: SHA-256 over its weights and what decides their meaning.

    Parameters
    ----------
    facts : mapping
        What JSON can hold.
    parts : mapping of str to mapping of str to Tensor
        The tensors of each half.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(_canonical(facts))
    for part in sorted(parts):
        digest.update(part.encode())
        digest.update(_serialise(parts[part]))
    return digest.hexdigest()


def write(path: str | Path, manifest: Mapping[str, Any], parts: Parts, *, overwrite: bool) -> Path:
    """Write a model so that it appears whole or not at all.

    Parameters
    ----------
    path : str or Path
        The folder.
    manifest : mapping
        What JSON can hold; the format, the versions and the weights' files are added here.
    parts : mapping of str to mapping of str to Tensor
        The tensors, one file a part.
    overwrite : bool
        Whether a model that is there already is replaced. A folder that holds something else
        never is.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputExistsError
        If something is there that is not to be replaced.
    OutputError
        If the folder cannot be written.
    """
    path = check_output(path, overwrite=overwrite)
    if path.exists() and not is_model(path) and (not path.is_dir() or any(path.iterdir())):
        raise OutputExistsError(
            f"'{path}' is not a model of Narrows and is not replaced; choose another name"
        )
    contents = {part: _serialise(tensors) for part, tensors in parts.items()}
    digests = {part: hashlib.sha256(data).hexdigest() for part, data in contents.items()}
    names = {part: f"{part}-{digest[:12]}.safetensors" for part, digest in digests.items()}
    complete = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **manifest,
        "versions": {name: version(name) for name in ("narrows", "torch", "numpy", "scikit-learn")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights": {p: {"file": names[p], "sha256": digests[p]} for p in contents},
    }
    text = json.dumps(complete, indent=2) + "\n"
    if not path.exists():
        with atomic_folder(path) as folder:
            for part, data in contents.items():
                (folder / names[part]).write_bytes(data)
            (folder / MANIFEST).write_text(text, encoding="utf-8")
        return path
    for part, data in contents.items():
        with atomic_file(path / names[part], overwrite=True) as file:
            file.write_bytes(data)
    with atomic_file(path / MANIFEST, overwrite=True) as file:
        file.write_text(text, encoding="utf-8")
    for stale in path.glob("*coder-*.safetensors"):
        if stale.name not in names.values():
            stale.unlink()
    return path


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read a model's manifest and tensors, and check that they belong together.

    Parameters
    ----------
    path : str or Path
        The folder.

    Returns
    -------
    manifest : dict
        As in the JSON file.
    parts : dict of str to dict of str to Tensor
        The tensors of each half that is there.

    Raises
    ------
    MissingFileError
        If there is no such folder.
    FormatError
        If it is not a model, is damaged, or was written by a newer version.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"there is no model '{path}'; check the path, or train one first")
    manifest = _read_manifest(path)
    parts = {}
    for part, entry in manifest["weights"].items():
        parts[part] = _read_weights(path, entry)
    return manifest, parts


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(
            f"'{path}' is not a model of Narrows: {MANIFEST} is missing or unreadable in it; "
            "name a folder that a model was saved to"
        ) from error
    except json.JSONDecodeError as error:
        raise FormatError(
            f"'{path / MANIFEST}' is damaged ({error}); restore it from a copy, or train again"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FormatError(
            f"'{path}' is not a model of Narrows: its {MANIFEST} does not say "
            f"'format': '{FORMAT}'; name a folder that a model was saved to"
        )
    if manifest.get("format_version") != FORMAT_VERSION:
        raise FormatError(
            f"'{path}' has format version {manifest.get('format_version')!r}, this Narrows reads "
            f"version {FORMAT_VERSION}; install a Narrows that reads it"
        )
    weights = manifest.get("weights")
    if not isinstance(weights, dict) or not all(
        isinstance(e, dict)
        and isinstance(e.get("sha256"), str)
        and isinstance(e.get("file"), str)
        and Path(e["file"]).name == e["file"]
        for e in weights.values()
    ):
        raise FormatError(
            f"'{path / MANIFEST}' is damaged: its 'weights' do not name files with their SHA-256; "
            "restore it from a copy, or train again"
        )
    return manifest


def _read_weights(path: Path, entry: Mapping[str, str]) -> dict[str, Tensor]:
    file = path / entry["file"]
    try:
        data = file.read_bytes()
    except OSError as error:
        raise FormatError(
            f"'{file}' is missing or unreadable ({error.strerror}); "
            "copy the model's folder again, whole"
        ) from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise FormatError(
            f"'{file}' is damaged: {len(data)} bytes whose SHA-256 is not the one in {MANIFEST}; "
            "copy the model's folder again, whole"
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise FormatError(f"'{file}' is not a safetensors file ({error}); train again") from error


def _serialise(tensors: Mapping[str, Tensor]) -> bytes:
    plain = {k: tensors[k].detach().cpu().contiguous() for k in sorted(tensors)}
    return save(plain)


def _canonical(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
