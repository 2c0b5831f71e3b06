"""Compression: images as codes of a trained model, in a file that says which model it needs."""

from corolla.apps.compression.container import Header
from corolla.apps.compression.files import Block, Compressed, compress, decompress, fingerprint, read_header

__all__ = ["Block", "Compressed", "Header", "compress", "decompress", "fingerprint", "read_header"]
