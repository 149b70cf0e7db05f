"""Location of a single flipped bit by the CRC-32 of the intact contents.

The CRC-32 is linear: a flipped bit changes it by a difference (XOR) that depends only on the bit's
distance from the end. The difference of two checksums therefore identifies the bit, found in one
step per byte; in contents of less than 512 MiB, no two bits have the same difference.
"""

from zlib import crc32


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xEDB88320 if byte & 1 else 0)
    return byte


# The difference that each byte makes; the byte by the difference's highest eight bits; the bit.
_TABLE = [_entry(byte) for byte in range(256)]
_BYTE = {entry >> 24: byte for byte, entry in enumerate(_TABLE)}
_BITS = {_TABLE[1 << bit]: bit for bit in range(8)}


def flipped_bit(contents: bytes, checksum: int) -> tuple[int, int] | None:
    """Find the bit to flip so that contents have a given checksum.

    Parameters
    ----------
    contents : bytes
        With a flipped bit.
    checksum : int
        The CRC-32 of the intact contents.

    Returns
    -------
    byte, bit : int
        The position of the byte, and of the bit in it, from 0 (lowest) to 7. None if no single bit
        explains the difference.

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
