"""Image files → source → recipe → uint8 cache. Batches for training are cut by `corolla.data.batches`, with PyTorch."""

from corolla.data.cache import ImageCache, open_cache
from corolla.data.describe import SourceDescription, describe_source, list_sources, preview_recipe
from corolla.data.florets import FACTORS, Factor, Florets, render, sample_factors
from corolla.data.images import open_image
from corolla.data.recipes import Recipe, Step, operation, recipe_named
from corolla.data.sources import ArraySource, Source, corolla_home, open_source, select_rows, spread_rows

__all__ = [
    "FACTORS",
    "ArraySource",
    "Factor",
    "Florets",
    "ImageCache",
    "Recipe",
    "Source",
    "SourceDescription",
    "Step",
    "corolla_home",
    "describe_source",
    "list_sources",
    "open_cache",
    "open_image",
    "open_source",
    "operation",
    "preview_recipe",
    "recipe_named",
    "render",
    "sample_factors",
    "select_rows",
    "spread_rows",
]
