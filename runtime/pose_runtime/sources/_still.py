"""Just enough of image file formats to refuse what is damaged or absurdly large before anything is decoded.

Decoders fill in what a truncated file lacks, allocate what a header says, or write to stderr. Each reader takes the
file's bytes, returns (width, height) and raises ValueError with what is wrong.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG: SOF0-15 less DHT, JPG, DAC

_NO_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))  # JPEG: stuffing, TEM, RST0-7, SOI, EOI


def _jpeg(data: bytes) -> tuple[int, int]:
    """ITU-T T.81, annex B: segments up to the frame header; the end marker must follow."""
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        lead, marker, length = struct.unpack_from(">BBH", data, at)
        if lead != 0xFF:
            raise ValueError("it is damaged: a JPEG segment does not start where it should")
        if marker in _NO_LENGTH:  # decoders go on differently here: what follows could be two images in one
            raise ValueError("it is damaged: a JPEG marker stands where a segment should")
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            if data.find(b"\xff\xd9", at) < 0:
                raise ValueError("it is truncated: the JPEG has no end")
            return width, height
        at += 2 + length


def _png(data: bytes) -> tuple[int, int]:
    """PNG specification, section 5: chunks with checksums, from IHDR to IEND."""
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != checksum:
            raise ValueError("it is damaged: a PNG checksum does not match")
        at += 12 + length
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)


def _webp(data: bytes) -> tuple[int, int]:
    """RFC 9649, section 2: one RIFF file with VP8X, VP8L or VP8 first."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise ValueError("it is truncated: the WebP is shorter than its header says")
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], tuple[int, int]]], ...] = (
    (lambda head: head[:3] == b"\xff\xd8\xff", _jpeg),
    (lambda head: head[:8] == b"\x89PNG\r\n\x1a\n", _png),
    (lambda head: head[:2] == b"BM" and head[6:10] == bytes(4), _bmp),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _webp),
)


def is_image(head: bytes) -> bool:
    """Whether a file that starts with these 16 bytes is an image of a kind that is read here."""
    return any(match(head) for match, _ in _READERS)


def size_wh(data: bytes) -> tuple[int, int]:
    """Width and height in pixels that an image file's header says.

    Raises:
        ValueError: no such image, or damaged; the message says what is wrong with "it".
    """
    for match, reader in _READERS:
        if match(data[:16]):
            try:
                return reader(data)
            except (IndexError, struct.error):
                raise ValueError("it is truncated") from None
    raise ValueError("it is no JPEG, PNG, BMP or WebP image")
