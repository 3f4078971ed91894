"""Lines out of a stream of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from chatkeep.services.jsonl import MAX_LINE_BYTES


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the lines of UTF-8 text, without their ends, holding one at a time.

    Of a line that is longer than MAX_LINE_BYTES its beginning is yielded, still too long, so that its reader refuses
    it; one that is not UTF-8 comes as a line that is not JSON.
    """
    held = bytearray()
    async for chunk in chunks:
        begin = 0
        while (end := chunk.find(b"\n", begin)) >= 0:
            _hold(held, chunk[begin:end])
            yield _text(held)
            held.clear()
            begin = end + 1
        _hold(held, chunk[begin:])
    if held:
        yield _text(held)


def _hold(held: bytearray, piece: bytes) -> None:
    held += piece[: max(0, MAX_LINE_BYTES + 1 - len(held))]


def _text(held: bytearray) -> str:
    try:
        return held.decode()
    except UnicodeDecodeError:
        if len(held) > MAX_LINE_BYTES:
            return held.decode(errors="replace")
        return "this line is not UTF-8"
