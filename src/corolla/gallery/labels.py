"""A model's own images by their labels: which of them show a rose?"""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from corolla.data import ImageCache, select_rows
from corolla.errors import DataError, UsageError, suggestion

FEW_LABELS = 12
"""So many are named where no label is like the one that is not found."""
CLOSE_LABELS = 4


def find_label(cache: ImageCache, name: str) -> int:
    """The number of a label, by its name in any case. Raises DataError without labels, UsageError without this one."""
    if cache.labels is None or not cache.label_names:
        raise DataError(f"label {name!r}: the model's images have no labels; give sets of images in its place")
    names = [known.casefold() for known in cache.label_names]
    wanted = name.strip().casefold()
    if wanted in names:
        return names.index(wanted)
    close = [index for index, known in enumerate(names) if wanted and wanted in known]
    close += [names.index(known) for known in get_close_matches(wanted, names, CLOSE_LABELS)]
    chosen = list(dict.fromkeys(close))[:CLOSE_LABELS]
    if len(names) <= FEW_LABELS or not chosen:
        more = f" and {len(names) - FEW_LABELS} more" if len(names) > FEW_LABELS else ""
        hint = suggestion(name, cache.label_names)
        there = ", ".join(cache.label_names[:FEW_LABELS])
        raise UsageError(f"label {name!r}: no such label{hint}; there are {there}{more}")
    similar = ", ".join(cache.label_names[index] for index in chosen)
    raise UsageError(f"label {name!r}: no such label among {len(names)}; similar ones are {similar}")


def split_by_label(cache: ImageCache, label: int, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of a split that have the label, and the others."""
    assert cache.labels is not None
    rows = select_rows(cache.splits, split)
    has = cache.labels[rows] == label
    return rows[has], rows[~has]
