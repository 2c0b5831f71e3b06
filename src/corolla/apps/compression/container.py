"""The file `.corolla`: a header, blocks of images, an end; each with a checksum over all that came before.

docs/compression.md has its layout. A varint holds seven bits a byte, low ones first, the eighth bit set in all but the
last. A checksum is a CRC-32 over the file up to itself, without earlier checksums: so a block that is altered, missing,
repeated or out of place does not match. It is proof against accidents, not against forgery.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from corolla.errors import DataError

MAGIC = b"CRLA"
VERSION = 1
FINGERPRINT_BYTES = 8
LARGEST_BLOCK = 256
"""Images in a block."""
LARGEST_SECTION = 2**26
"""Bytes in a section of a block."""

_LOSSLESS, _NAMED = 1, 2
_HEADER = struct.Struct(f"<4sBBb{FINGERPRINT_BYTES}s")
_CRC = struct.Struct("<I")
_VARINT_BYTES = 5


@dataclass(frozen=True)
class Header:
    """What a file says before its images: the model that it needs, steps (2^(scale/8) times its own), and flags."""

    fingerprint: bytes
    scale: int
    lossless: bool = False
    named: bool = False


class Writer:
    """Writes a file from its beginning on; `close` writes the end."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file = file
        self._crc = self.images = self.bytes = 0
        flags = _LOSSLESS * header.lossless | _NAMED * header.named
        self._write(_HEADER.pack(MAGIC, VERSION, flags, header.scale, header.fingerprint))

    def write(self, images: int, sections: Sequence[bytes]) -> None:
        """Write a block."""
        self.images += images
        self._write(_varint(images) + b"".join(_varint(len(section)) + section for section in sections))

    def close(self) -> None:
        """Write the end. The file itself stays open."""
        self._write(b"\0" + _varint(self.images))

    def _write(self, content: bytes) -> None:
        self._crc = zlib.crc32(content, self._crc)
        self._file.write(content + _CRC.pack(self._crc))
        self.bytes += len(content) + _CRC.size


class Reader:
    """Reads a file; nothing is given out before its checksum was found right.

    Raises DataError, which names the place, if it is not of this kind, cut short, or altered.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name, self._place = file, name, "header"
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            raise DataError(f"{name}: not a .corolla file" if magic else f"{name}: empty; not a .corolla file")
        self._crc = zlib.crc32(magic)
        rest = self._read(_HEADER.size - len(MAGIC))
        version = rest[0]
        if version != VERSION:
            raise DataError(f"{name}: of format {version}, not {VERSION}; read it with the Corolla that wrote it")
        self._check()
        _, _, flags, scale, fingerprint = _HEADER.unpack(magic + rest)
        if flags & ~(_LOSSLESS | _NAMED):
            raise DataError(f"{name}: holds what this Corolla does not know (flags {flags}); read it with a newer one")
        self.header = Header(fingerprint, scale, bool(flags & _LOSSLESS), bool(flags & _NAMED))

    def blocks(self) -> Iterator[tuple[int, list[bytes]]]:
        """The number of images and the sections of each block. Raises DataError after the last block that is whole."""
        images = 0
        for number in itertools.count(1):
            self._place = f"block {number}"
            count = self._read_varint()
            if count == 0:
                break
            if count > LARGEST_BLOCK:
                raise self._damaged()
            sections = [self._read_section() for _ in range(1 + self.header.lossless + self.header.named)]
            self._check()
            images += count
            yield count, sections
        self._place = "end"
        total = self._read_varint()
        self._check()
        if total != images or self._file.read(1):
            raise self._damaged()

    def _damaged(self) -> DataError:
        return DataError(f"{self._name}: {self._place}: altered or damaged (its checksum does not match); get it again")

    def _read(self, length: int) -> bytes:
        content = self._file.read(length)
        if len(content) < length:
            raise DataError(f"{self._name}: {self._place}: cut short; get the whole file")
        self._crc = zlib.crc32(content, self._crc)
        return content

    def _read_section(self) -> bytes:
        length = self._read_varint()
        if length > LARGEST_SECTION:
            raise self._damaged()
        return self._read(length)

    def _read_varint(self) -> int:
        value = 0
        for place in range(_VARINT_BYTES):
            byte = self._read(1)[0]
            value |= (byte & 127) << (7 * place)
            if byte < 128:
                return value
        raise self._damaged()

    def _check(self) -> None:
        expected = self._crc
        (stored,) = _CRC.unpack(self._read(_CRC.size))
        self._crc = expected
        if stored != expected:
            raise self._damaged()


def _varint(value: int) -> bytes:
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    return bytes(content) + bytes([value])
