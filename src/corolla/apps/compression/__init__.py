"""Compression: images as codes of a trained model, in a file that says which model it needs."""

from corolla.apps.compression.files import compress, decompress, decompress_files

__all__ = ["compress", "decompress", "decompress_files"]
