"""Files of features: `.parquet` and `.npz`, joined from parts and read in blocks, so that memory stays as it is.

- A Parquet file has the columns `path`, `z000`, `z001`, … and, with variances, `var000`, …; its schema's metadata hold
  the model's fingerprint as `corolla_fingerprint`.
- An `.npz` file has the arrays `paths` (N), `means` (N×latent_dim), with variances `variances`, and `fingerprint` (1).

Values are float32. The fingerprint is the SHA-256 of the model's weights.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corolla.data import npz
from corolla.errors import DataError, missing_extra
from corolla.pictures.files import check_name
from corolla.trained.encoding import Block

_FINGERPRINT = b"corolla_fingerprint"
_DIGITS = 3
_BLOCK_ROWS = 4096

Parts = Callable[[], Iterator[Block]]


@dataclass(frozen=True, eq=False)
class Features(Block):
    """A whole file of features."""

    fingerprint: str = ""
    """Of the model: the SHA-256 of its weights."""


def check_features_name(path: Path | str) -> str:
    """The suffix of a file of features, in lower case. Raises UsageError for another kind, or a missing extra."""
    suffix = check_name(path, [".parquet", ".npz"], "features")
    if suffix == ".parquet":
        _parquet()
    return suffix


def join(path: Path, suffix: str, parts: Parts, fingerprint: str) -> None:
    """Write a file from parts, which are gone through as often as it takes and hold a row at least. Raises OSError."""
    (_join_parquet if suffix == ".parquet" else _join_npz)(path, parts, fingerprint)


def read_features(path: Path | str) -> Features:
    """A whole file of features, in memory; `feature_blocks` gives the same some rows at a time.

    Raises UsageError for another kind of file, or a missing extra; DataError if it cannot be read or holds no features.
    """
    blocks = list(feature_blocks(path))
    if not blocks:
        raise DataError(f"{path}: holds no rows")
    return Features(**vars(joined(blocks)), fingerprint=read_fingerprint(path))


def joined(blocks: Sequence[Block]) -> Block:
    """One block of several."""
    variances = [block.variances for block in blocks if block.variances is not None]
    return Block(
        tuple(path for block in blocks for path in block.paths),
        np.concatenate([block.means for block in blocks]),
        np.concatenate(variances) if variances else None,
        tuple(fault for block in blocks for fault in block.faults),
    )


def feature_blocks(path: Path | str) -> Iterator[Block]:
    """The rows of a file of features, some at a time. Raises as `read_features`."""
    return (_parquet_blocks if check_features_name(path) == ".parquet" else _npz_blocks)(Path(path))


def read_fingerprint(path: Path | str) -> str:
    """Which model a file's features are of: the SHA-256 of its weights. Raises as `read_features`."""
    if check_features_name(path) == ".npz":
        return str(npz.load(Path(path), "fingerprint")[0])
    with _open_parquet(Path(path)) as file:
        fingerprint = (file.schema_arrow.metadata or {}).get(_FINGERPRINT, b"").decode("ascii", "replace")
    if not fingerprint:
        raise DataError(f"{path}: does not say which model it is of; make it again with `corolla embed`")
    return str(fingerprint)


def _join_npz(path: Path, parts: Parts, fingerprint: str) -> None:
    rows, width = 0, 1
    for part in parts():
        rows, width = rows + len(part.paths), max(width, *map(len, part.paths), 1)
        shape, variance = (rows, part.means.shape[1]), part.variances is not None
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        # Names have one length in NumPy, most of which is nothing.
        names = (np.array(part.paths, f"<U{width}") for part in parts())
        _write_member(archive, "paths", (rows,), f"<U{width}", names, zipfile.ZIP_DEFLATED)
        _write_member(archive, "means", shape, "<f4", (part.means for part in parts()))
        if variance:
            variances = (part.variances for part in parts() if part.variances is not None)
            _write_member(archive, "variances", shape, "<f4", variances)
        _write_member(archive, "fingerprint", (1,), f"<U{len(fingerprint)}", iter([np.array([fingerprint])]))


def _write_member(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    pieces: Iterator[NDArray[Any]],
    compression: int = zipfile.ZIP_STORED,
) -> None:
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = compression
    with archive.open(info, "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        for piece in pieces:
            file.write(piece.astype(dtype, copy=False).tobytes())


def _npz_blocks(path: Path) -> Iterator[Block]:
    shape, dtype = npz.header(path, "means")
    (rows, *_), names = npz.header(path, "paths")
    if len(shape) != 2 or dtype != np.float32 or names.kind != "U" or rows != shape[0]:
        raise DataError(f"{path}: holds no features; make it with `corolla embed`")
    variance = "variances" in npz.members(path)
    if variance and npz.header(path, "variances") != (shape, dtype):
        raise DataError(f"{path}: its variances do not match its means; make it again with `corolla embed`")
    columns = ["paths", "means", *(["variances"] if variance else [])]
    for paths, *values in zip(*(npz.blocks(path, name, _BLOCK_ROWS) for name in columns), strict=True):
        yield Block(tuple(paths.tolist()), *values)


def _parquet() -> ModuleType:
    try:
        import pyarrow.parquet
    except ImportError:
        raise missing_extra("features", "a Parquet file") from None
    parquet: ModuleType = pyarrow.parquet
    return parquet


def _columns(kind: str, count: int) -> list[str]:
    return [f"{kind}{number:0{_DIGITS}d}" for number in range(count)]


def _join_parquet(path: Path, parts: Parts, fingerprint: str) -> None:
    parquet = _parquet()
    import pyarrow as pa

    def table(part: Block) -> Any:
        # Arrow's text is UTF-8: of a name that is not, the odd bytes show as ?.
        columns = {"path": pa.array([name.encode("utf-8", "replace").decode() for name in part.paths], pa.string())}
        for kind, values in (("z", part.means), ("var", part.variances)):
            if values is not None:
                arrays = [pa.array(column, pa.float32()) for column in np.ascontiguousarray(values.T)]
                columns |= dict(zip(_columns(kind, len(arrays)), arrays, strict=True))
        return pa.table(columns, metadata={_FINGERPRINT: fingerprint.encode()})

    tables = map(table, parts())
    first = next(tables)
    with parquet.ParquetWriter(path, first.schema) as writer:
        for part in chain([first], tables):
            writer.write_table(part)


def _open_parquet(path: Path) -> Any:
    parquet = _parquet()
    import pyarrow as pa

    try:
        return parquet.ParquetFile(path)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file, or damaged: {_line(error)}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or _line(error)}") from None


def _parquet_blocks(path: Path) -> Iterator[Block]:
    with _open_parquet(path) as file:
        import pyarrow as pa

        names = file.schema_arrow.names
        latents, variances = (sum(bool(re.fullmatch(f"{kind}[0-9]+", name)) for name in names) for kind in ("z", "var"))
        columns = ["path", *_columns("z", latents), *_columns("var", variances)]
        if not latents or not set(columns) <= set(names):
            raise DataError(f"{path}: holds no features; make it with `corolla embed`")
        try:
            for batch in file.iter_batches(_BLOCK_ROWS, columns=columns):
                values = np.stack([np.asarray(column, np.float32) for column in batch.columns[1:]], axis=1)
                means, rest = values[:, :latents], values[:, latents:]
                yield Block(tuple(batch.column(0).to_pylist()), means, rest if variances else None)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: damaged: {_line(error)}") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
