"""Photographs that show the same picture in other bytes: saved again, at another size, quality or brightness."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

# Measured on 11,601 of Kaggle's photographs. Copies that were saved again as a JPEG of quality 10, at a quarter or
# twice their size, brighter, or in greys, differ in at most 34 of the 256 bits; with a margin of 1.5 % cut off, 997 of
# 1,000 in at most 44; two different photographs in at least 70.
MOST_BITS = 44
MOST_EACH = 50  # pairs that are listed for a photograph, or many copies of one would fill the memory
ROWS = 512  # photographs that are compared with all others at once

Bytes = NDArray[np.uint8]


def perceptual_hash(image: Bytes) -> str:
    """A digest of what a picture looks like: similar pictures differ in few of its 256 bits.

    Each bit says whether one of the 16×16 lowest frequencies is stronger than the median of them (the "pHash" of
    Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions").

    Args:
        image: bytes (H, W, 3).

    Returns:
        64 hexadecimal digits; empty for an image of one colour, which looks like any other.
    """
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    if grey.std() < 1:
        return ""
    lowest = cv2.dct(grey.astype(np.float32))[:16, :16]
    return np.packbits(lowest > np.median(lowest)).tobytes().hex()


def find_near_duplicates(hashes: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of pictures that look the same.

    Args:
        hashes: of the pictures, by `perceptual_hash`.

    Returns:
        For each pair the places of both in `hashes`, the later one first, in ascending order. Of the earlier ones that
        look like the same picture, only the first `MOST_EACH` are named.
    """
    places = np.array([place for place, digits in enumerate(hashes) if digits], dtype=np.int64)
    digests = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(places), 32)
    signs = np.unpackbits(digests, axis=1).astype(np.float32) * 2 - 1
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(signs), ROWS):
        rows = signs[start : start + ROWS]
        # The product of two digests counts the bits that are equal less those that differ.
        alike = np.tril(rows @ signs[: start + len(rows)].T >= signs.shape[1] - 2 * MOST_BITS, start - 1)
        for row in alike.any(1).nonzero()[0]:
            later = int(places[start + row])
            pairs += [(later, int(earlier)) for earlier in places[alike[row].nonzero()[0][:MOST_EACH]]]
    return pairs
