"""How many tokens a text takes, without a tokenizer: a weight for each class of UTF-8 bytes.

The weights are cautious fits over several vocabularies; a figure is near for English and code, and rather too high
elsewhere, until `domain.calibration` has learnt from what a provider reports. Nothing is stored beside a message: an
estimate takes about ten microseconds for a thousand characters, and its weights can change.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable

from chatkeep.domain.messages import Data, File, Foreign, JsonValue, Part, Reasoning, Text, ToolCall, ToolResult

TOKENS_PER_MESSAGE = 4
"""What a message takes beside its content: its role and its borders."""
TOKENS_PER_IMAGE = 1_100
"""What an image of usual size takes, whatever its bytes."""

_ASCII_WEIGHTS = {
    b"a": 0.213,  # lower case
    b"A": 0.349,  # upper case
    b"0": 0.205,  # digits
    b" ": 0.059,
    b".": 0.776,  # punctuation and control characters
}
_OTHER_WEIGHTS = {
    b"L": 2.276,  # the lead byte of an accented Latin letter
    b"G": 0.959,  # of Greek, Cyrillic, Hebrew, Arabic
    b"D": 1.56,  # of the scripts of India
    b"S": 3.651,  # of South-East Asia, of Georgian, and of symbols
    b"K": 0.883,  # of kana and CJK punctuation
    b"H": 1.116,  # of Han characters
    b"N": 1.029,  # of Hangul and private use
    b"E": 2.318,  # of emoji and rare planes
}
_CODED_CHARS = 17
_CODED_WEIGHT = 0.384
_CODED = re.compile(rb"[A-Za-z0-9+/_-]{%d,}" % _CODED_CHARS)
"""Runs that only a machine writes, such as hashes and base64, take more than words of the same letters."""
_CODED_MARKS = bytes(b"x"[0] if _CODED.fullmatch(bytes((byte,)) * _CODED_CHARS) else b" "[0] for byte in range(256))
_CODED_RUN = b"x" * _CODED_CHARS


def _class_of(byte: int) -> bytes:
    letter = bytes((byte,))
    if byte < 0x80:  # noqa: PLR2004 -- the borders are those of UTF-8
        if letter.islower():
            return b"a"
        if letter.isupper():
            return b"A"
        if letter.isdigit():
            return b"0"
        return {b" ": b" ", b"\n": b"-", b"\r": b"-", b"\t": b" "}.get(letter, b".")
    borders = ((0xC0, b"-"), (0xC6, b"L"), (0xE0, b"G"), (0xE1, b"D"), (0xE3, b"S"), (0xE4, b"K"), (0xEA, b"H"))
    for border, kind in (*borders, (0xF0, b"N")):
        if byte < border:
            return kind
    return b"E"


_CLASSES = b"".join(_class_of(byte) for byte in range(256))


def text_tokens(text: str) -> float:
    """Return about how many tokens a text takes; more text never takes fewer."""
    raw = text.encode(errors="replace")
    classes = raw.translate(_CLASSES)
    count = classes.count
    digits = count(b"0")
    tokens = 0.0
    for kind, weight in _ASCII_WEIGHTS.items():
        tokens += weight * count(kind)
    if len(raw) != len(text):
        for kind, weight in _OTHER_WEIGHTS.items():
            tokens += weight * count(kind)
    if digits and _CODED_RUN in raw.translate(_CODED_MARKS):  # a tenth of the time that the search for them takes
        for run in _CODED.findall(raw):
            if not run.isalpha():
                tokens += _CODED_WEIGHT * len(run)
    return tokens


def json_tokens(value: JsonValue, count: Callable[[str], float] = text_tokens) -> float:
    """Return about how many tokens a value takes, sent as JSON: the arguments of a call, the schema of a tool."""
    return count(json.dumps(value, ensure_ascii=False))


def part_tokens(part: Part, count: Callable[[str], float] = text_tokens) -> float:
    """Return about how many tokens a part takes in a prompt; 0 for what no model is sent. `count` judges texts."""
    match part:
        case Text(text=said) | ToolResult(content=str(said)) | Foreign(item=str(said)):
            return count(said)
        case ToolResult(content=value) | Foreign(item=value):
            return json_tokens(value, count)
        case ToolCall():
            return count(part.name) + json_tokens(part.arguments, count)
        case File():
            is_image = part.media_type.startswith("image/")
            return TOKENS_PER_IMAGE if is_image else count(f"[file: {part.name}, {part.media_type}, {part.url}]")
        case Reasoning() | Data():
            return 0.0


def message_tokens(parts: Iterable[Part], count: Callable[[str], float] = text_tokens) -> int:
    """Return about how many tokens a message of these parts takes, rounded up, its role and borders included."""
    return TOKENS_PER_MESSAGE + math.ceil(sum(part_tokens(part, count) for part in parts))
