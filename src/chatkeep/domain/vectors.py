"""How the vectors of messages are stored: in pages of PAGE_SEQS seqs, beside the session.

A page is written when all its messages are there, and again only when one of them is erased. So each message is
embedded and stored about once, on every engine.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PAGE_SEQS = 32
MAX_NAME_BYTES = 100
_VERSION = 1
_HEAD = struct.Struct(">BBHI")


@dataclass(frozen=True, slots=True)
class VectorPage:
    """The vectors of some messages of one page, by seq, made by the embedder of that name; all of one size."""

    name: str = ""
    vectors: Mapping[int, bytes] = field(default_factory=dict)


def page_of(seq: int) -> int:
    """Return the number of the page that holds the seq, from 0 on."""
    return (seq - 1) // PAGE_SEQS


def last_seq(page: int) -> int:
    """Return the last seq of a page."""
    return (page + 1) * PAGE_SEQS


def by_page(seqs: Sequence[int]) -> dict[int, list[int]]:
    """Return the seqs by the page that holds them."""
    pages: dict[int, list[int]] = {}
    for seq in seqs:
        pages.setdefault(page_of(seq), []).append(seq)
    return pages


def to_bytes(page: VectorPage) -> bytes:
    """Return the stored form."""
    name = page.name.encode()
    held = 0
    for seq in page.vectors:
        held |= 1 << (seq - 1) % PAGE_SEQS
    vectors = [page.vectors[seq] for seq in sorted(page.vectors)]
    return _HEAD.pack(_VERSION, len(name), len(vectors[0]) if vectors else 0, held) + name + b"".join(vectors)


def from_bytes(number: int, value: bytes) -> VectorPage:
    """Return what `to_bytes` wrote for that page. Raises ValueError for anything else."""
    try:
        version, length, size, held = _HEAD.unpack_from(value)
        name = value[_HEAD.size : _HEAD.size + length].decode()
    except struct.error as error:
        raise ValueError(str(error)) from error
    body = value[_HEAD.size + length :]
    seqs = [number * PAGE_SEQS + 1 + slot for slot in range(PAGE_SEQS) if held >> slot & 1]
    if version != _VERSION or len(body) != size * len(seqs):
        raise ValueError("no page of vectors")
    return VectorPage(name, {seq: body[at * size : (at + 1) * size] for at, seq in enumerate(seqs)})
