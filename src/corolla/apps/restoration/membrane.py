"""Values at some pixels -> smooth values at the others, as a membrane hangs from what holds it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph, csr_matrix
from scipy.sparse.linalg import splu
from sklearn.feature_extraction.image import grid_to_graph

from corolla.errors import UsageError


def membrane(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fill an array H×W×C where it is not known (H×W); what is known stays as it is. Raises UsageError if nothing is.

    Solves Laplace's equation Δv = 0, in five-point differences, with the known pixels as the boundary and no flow over
    the edge of the image, as in Pérez et al. (2003), "Poisson image editing".
    """
    if not known.any():
        raise UsageError("no pixel is known; leave some outside of the mask")
    result = np.array(values, dtype=np.float64)
    gap = ~known.ravel()
    if gap.any():
        equations = _laplacian(*known.shape)[gap]
        result[~known] = splu(equations[:, gap].tocsc()).solve(-(equations[:, ~gap] @ result[known]))
    return result


@lru_cache(maxsize=8)
def _laplacian(height: int, width: int) -> csr_matrix:
    """Of the graph in which each pixel is joined to its neighbours to the sides, above and below."""
    return csgraph.laplacian(grid_to_graph(height, width, dtype=float)).tocsr()
