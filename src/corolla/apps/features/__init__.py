"""Images as features: the means of q(z|x) of any number of images, in a file, and the nearest of them to an image."""

from corolla.apps.features.files import feature_blocks, read_features, read_fingerprint
from corolla.apps.features.search import nearest_images, search_sheet
from corolla.apps.features.write import write_features
from corolla.trained.encoding import embed

__all__ = [
    "embed",
    "feature_blocks",
    "nearest_images",
    "read_features",
    "read_fingerprint",
    "search_sheet",
    "write_features",
]
