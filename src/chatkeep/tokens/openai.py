"""The vocabularies of OpenAI's models. Needs the extra `tokenizers`."""

from __future__ import annotations

import logging
import threading

import tiktoken

from chatkeep.ports.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


class _Vocabulary:
    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        """See Tokenizer."""
        return len(self._encoding.encode_ordinary(text.encode(errors="replace").decode()))


class Vocabularies:
    """Gives vocabularies once they are loaded, which may take a download: nobody waits for that.

    `TIKTOKEN_CACHE_DIR` names the folder where they are kept, or were put for a machine that reaches nothing.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Tokenizer | None] = {}
        self._loading: dict[str, threading.Thread] = {}

    def of(self, model: str) -> Tokenizer | None:
        """Return the vocabulary of a model such as `openai:gpt-4o`; None for one that is not OpenAI's, and so far."""
        provider, _, name = model.rpartition(":")
        if provider not in ("", "openai"):
            return None
        try:
            wanted = tiktoken.encoding_name_for_model(name)
        except KeyError:
            return None
        if wanted not in self._loading:
            thread = threading.Thread(target=self._load, args=(wanted,), name="vocabulary", daemon=True)
            self._loading[wanted] = thread
            thread.start()
        return self._loaded.get(wanted)

    def settled(self) -> None:
        """Wait for what is being loaded."""
        for thread in list(self._loading.values()):
            thread.join()

    def _load(self, name: str) -> None:
        try:
            self._loaded[name] = _Vocabulary(tiktoken.get_encoding(name))
        except Exception as error:  # noqa: BLE001 -- of a download or a file; counting by bytes goes on
            _log.warning("tokens are estimated: the vocabulary %s cannot be had: %s", name, type(error).__name__)
