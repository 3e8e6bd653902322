"""The span decoder that is served, for evaluation: one implementation, in the repository, where Triton runs it."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from trident_server.shipped import repository_sources

SOURCE = repository_sources() / "qa_span_decoder" / "1" / "spans.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trident_spans", SOURCE)
    if spec is None or spec.loader is None:
        raise ImportError(f"{SOURCE} is missing")
    module = importlib.util.module_from_spec(spec)
    # Where its named tuples look for their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_spans = _load()
Span, Window, find_spans, rank_spans, null_logit, widen, MAX_ANSWER_TOKENS = (
    _spans.Span,
    _spans.Window,
    _spans.find_spans,
    _spans.rank_spans,
    _spans.null_logit,
    _spans.widen,
    _spans.MAX_ANSWER_TOKENS,
)
