"""`context_evidence` by words and meaning, for an evaluation of selectors."""

from __future__ import annotations

from benchmarks.context_evidence import MODEL, Selector
from chatkeep.embedders.minilm import MiniLM

_by_both = Selector(MiniLM(MODEL))
prepare, select = _by_both.prepare, _by_both.select
