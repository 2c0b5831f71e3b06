"""Images -> a file of features, by way of parts, so that what was done outlives a kill.

Beside the file lies the folder `NAME.partial`. A part is the codes of up to 4,096 entries of the listing (with Ray,
65,536); its name has a digest of these entries (their names, sizes and times of change), of the model's weights and of
what is kept of each image. So the same command finds the parts that it would make, whereas another model or list, or a
file that was changed, makes new ones. At the end the parts are joined, and the folder is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from corolla.apps.features.files import check_features_name, join, joined
from corolla.data.archives import ZIP_ERRORS
from corolla.data.listing import Entry, count_images, list_images
from corolla.data.recipes import recipe_named
from corolla.data.stream import OnError, leave_out, none_usable
from corolla.errors import DataError, ModelError
from corolla.files import locked, replacing, writing
from corolla.progress import OnProgress, steps_of
from corolla.trained import TrainedModel, encoding
from corolla.trained.encoding import Block, Engine, check_engine, encoded

PARTIAL = ".partial"
_RAY_PARTS = 16  # as many in one, so that a cluster has enough to do at a time
_FORMAT = 1  # part of every digest: raise it when the layout of a part changes
_READ_ERRORS = (*ZIP_ERRORS, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class Written:
    """What was written: how many rows; entries that were left out; rows that an earlier, broken-off run had made."""

    rows: int
    left_out: int = 0
    found: int = 0


def write_features(
    model: TrainedModel,
    paths: Iterable[Path | str],
    output: Path | str,
    *,
    variance: bool = False,
    on_error: OnError = "skip",
    workers: int | None = None,
    engine: Engine = "threads",
    progress: OnProgress | None = None,
) -> Written:
    """Write the codes of images to a `.parquet` (extra `features`) or `.npz` file, in the order of the listing.

    A call that was interrupted goes on where it was when it is made again. Memory does not grow with the number of
    images; only the names in the largest folder are held at once. The file is there whole or not at all. The engine may
    be "ray", a cluster (extra `scale`), which gives the same rows in the same order; progress is called with the images
    that are done, which are counted first. The rest is as for `embed`.

    Raises as `embed`; UsageError for a name or engine that cannot be, or a missing extra; DataError if no image can be
    read; ModelError if the model was never saved; and WriteError.
    """
    output = Path(output)
    suffix = check_features_name(output)
    check_engine(engine, workers)
    if not model.card.weights_sha256:
        raise ModelError("this model was never saved, so that the features could not say whose they are; save it first")
    partial = output.with_name(output.name + PARTIAL)
    try:
        with locked(partial / "parts"):
            paths = paths if progress is None else list(paths)
            told = steps_of(progress, "embedding", None if progress is None else count_images(paths))
            work = _Work(model, partial, variance, on_error, workers, engine, told)
            names, written = work.make_parts(list_images(paths))
            if written.rows:
                with writing(output.parent), replacing(output) as temporary:
                    join(temporary, suffix, lambda: work.parts(names), model.card.weights_sha256)
            for part in partial.glob("*[0-9]-*.npz*"):  # of this work or another, and what kills left of them
                part.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # the folder stays with its lock where parts are left for the next call
            if {path.name for path in partial.iterdir()} <= {"parts.lock"}:
                (partial / "parts.lock").unlink(missing_ok=True)
                partial.rmdir()
    if not written.rows:
        raise none_usable(written.left_out)
    return written


@dataclass(frozen=True, eq=False)
class _Work:
    model: TrainedModel
    partial: Path
    variance: bool
    on_error: OnError
    workers: int | None
    engine: Engine
    told: Callable[[int], None]

    def make_parts(self, entries: Iterator[Entry]) -> tuple[list[str], Written]:
        """Make the parts that are not there yet, and return the names of all in their order."""
        names: list[str] = []
        rows = left_out = found = 0
        length = encoding.PART_ENTRIES * (_RAY_PARTS if self.engine == "ray" else 1)
        while entries_of_part := list(islice(entries, length)):
            name = f"{len(names):06d}-{self._digest(entries_of_part)}.npz"
            part = self._read(name)
            if part is None or len(part.paths) + len(part.faults) != len(entries_of_part):
                part = self._make(name, entries_of_part, rows + left_out)
            else:
                found += len(part.paths)
                leave_out(part.faults, self.on_error)
            names.append(name)
            rows += len(part.paths)
            left_out += len(part.faults)
            self.told(rows + left_out)
        return names, Written(rows, left_out, found)

    def parts(self, names: Sequence[str]) -> Iterator[Block]:
        """The parts that have rows, one after another."""
        for name in names:
            part = self._read(name)
            if part is None:
                raise DataError(f"{self.partial / name}: was altered meanwhile; give the command again")
            if part.paths:
                yield part

    def _make(self, name: str, entries: list[Entry], done: int) -> Block:
        blocks = []
        for block in encoded(self.model, entries, self.variance, self.on_error, self.workers, self.engine):
            blocks.append(block)
            done += len(block.paths) + len(block.faults)
            self.told(done)
        part = joined(blocks)
        with writing(self.partial), replacing(self.partial / name) as temporary, temporary.open("wb") as file:
            arrays = {"paths": np.array(part.paths, np.str_), "faults": np.array(part.faults, np.str_)}
            values = {"means": part.means} | ({} if part.variances is None else {"variances": part.variances})
            np.savez(file, **arrays, **values)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        return part

    def _read(self, name: str) -> Block | None:
        """A part as it was made; None if it is missing or damaged."""
        try:
            with (self.partial / name).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                variances = file["variances"] if self.variance else None
                return Block(tuple(file["paths"].tolist()), file["means"], variances, tuple(file["faults"].tolist()))
        except _READ_ERRORS:
            return None

    def _digest(self, entries: list[Entry]) -> str:
        model = self.model
        recipe = recipe_named(model.config.data.recipe).digest
        wanted = [_FORMAT, model.card.weights_sha256, recipe, model.height, model.width, self.variance]
        digest = hashlib.sha256(json.dumps(wanted).encode())
        for entry in entries:
            facts = (entry.key, str(entry.place), entry.size, entry.changed_ns, entry.offset, entry.fault)
            digest.update(f"{facts!r}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:32]
