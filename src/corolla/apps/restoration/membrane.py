"""Values at some pixels -> smooth values at the others, as a membrane hangs from what holds it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from corolla.errors import UsageError

_STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def membrane(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill an array H×W×C where it is not known (H×W); what is known stays as it is. Raises UsageError if nothing is.

    Solves Laplace's equation Δv = 0, in five-point differences, with the known pixels as the boundary and no flow over
    the edge of the image, as in Pérez et al. (2003), "Poisson image editing".
    """
    if not known.any():
        raise UsageError("no pixel is known; leave some outside of the mask")
    result = np.array(values, dtype=np.float64)
    height, width = known.shape
    ys, xs = np.nonzero(~known)
    count = len(ys)
    if count == 0:
        return result
    number = np.full(known.shape, -1)
    number[ys, xs] = np.arange(count)
    diagonal = np.zeros(count)
    right = np.zeros((count, values.shape[2]))
    rows, columns = [], []
    for step_y, step_x in _STEPS:
        y, x = ys + step_y, xs + step_x
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        here, y, x = np.flatnonzero(inside), y[inside], x[inside]
        diagonal[here] += 1
        fixed = known[y, x]
        right[here[fixed]] += result[y[fixed], x[fixed]]  # each pixel has one neighbour on a side: no index twice
        rows.append(here[~fixed])
        columns.append(number[y[~fixed], x[~fixed]])
    index = np.concatenate(rows), np.concatenate(columns)
    matrix = sparse.diags(diagonal) - sparse.coo_matrix((np.ones(len(index[0])), index), (count, count))
    result[ys, xs] = splu(matrix.tocsc()).solve(right)
    return result
