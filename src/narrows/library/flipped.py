"""Which bit of a file is another than it was, by the CRC-32 of its contents.

The CRC-32 is linear: a flipped bit changes it by what depends on the bit's place alone, counted
from the end. So the difference between two checksums leads back to the bit, in one step a byte; no
two bits of less than 512 MiB have the same difference.
"""

from zlib import crc32


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xEDB88320 if byte & 1 else 0)
    return byte


# What a byte does to the checksum, and the byte by the highest eight bits of that.
_TABLE = [_entry(byte) for byte in range(256)]
_BYTE = {entry >> 24: byte for byte, entry in enumerate(_TABLE)}
_BITS = {_TABLE[1 << bit]: bit for bit in range(8)}


def flipped_bit(contents: bytes, checksum: int) -> tuple[int, int] | None:
    """Find the bit whose change gives contents a checksum.

    Parameters
    ----------
    contents : bytes
        As they are.
    checksum : int
        The CRC-32 that they had.

    Returns
    -------
    byte, bit : int
        The place of the byte, and the bit of it, from 0, the lowest, to 7. None if there is no
        such bit.

    Examples
    --------
    >>> from zlib import crc32
    >>> flipped_bit(b"Narrows", crc32(b"narrows"))
    (0, 5)
    """
    difference = crc32(contents) ^ checksum
    for place in range(len(contents) - 1, -1, -1):
        if difference in _BITS:
            return place, _BITS[difference]
        byte = _BYTE[difference >> 24]
        difference = (difference ^ _TABLE[byte]) << 8 & 0xFFFFFFFF | byte
    return None
