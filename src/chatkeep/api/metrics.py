"""What Prometheus reads. Labels are route templates, statuses and names of ours: bounded, and without content."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

from chatkeep.domain.reports import Report
from chatkeep.domain.runs import Run
from chatkeep.services.compaction import Made

_RATIO_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1)
_BUILD_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)
_CHAT_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The instruments of one server."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter("http_requests", "HTTP requests", ["method", "route", "status"], registry=registry)
        self.request_seconds = Histogram(
            "http_request_seconds", "Time to the end of the answer", ["method", "route"], registry=registry
        )
        self.chats = Counter("chat_requests", "Answers asked for", ["kind"], registry=registry)
        self.chat_seconds = Histogram(
            "chat_latency_seconds",
            "From the claim of a run to its end",
            ["status"],
            registry=registry,
            buckets=_CHAT_BUCKETS,
        )
        self.operations = Counter(
            "session_operations", "Requests on sessions", ["operation", "outcome"], registry=registry
        )
        self.sessions_created = Counter("sessions_created", "Sessions created over HTTP", registry=registry)
        self.history_retrieved = Counter("history_retrieved", "Reads of messages", registry=registry)
        self.messages_saved = Counter("messages_saved", "Messages stored", ["source"], registry=registry)
        self.context_tokens = Counter("context_tokens", "Tokens of prompts, as estimated", ["part"], registry=registry)
        self.context_compression = Histogram(
            "context_compression_ratio",
            "What the summaries of a prompt take, against what they stand for",
            registry=registry,
            buckets=_RATIO_BUCKETS,
        )
        self.context_prefix = Histogram(
            "context_prefix_fraction",
            "The part of a prompt that begins like the one before in its session",
            registry=registry,
            buckets=_RATIO_BUCKETS,
        )
        self.context_seconds = Histogram(
            "context_build_seconds", "Time to choose a prompt", registry=registry, buckets=_BUILD_BUCKETS
        )
        self.context_wait_seconds = Counter(
            "context_wait_seconds", "Time that prompts waited for a model's summary", registry=registry
        )
        self.summaries = Counter("summaries", "Summaries made", ["method"], registry=registry)
        self.summary_tokens = Counter(
            "summary_tokens", "Tokens that summaries were made from, and took", ["direction"], registry=registry
        )
        self.history_seconds = Histogram("history_latency_seconds", "Time to read messages", registry=registry)

    def run_ended(self, run: Run) -> None:
        """Count a run that has ended in this process."""
        if run.finished_at is not None:
            seconds = (run.finished_at - run.created_at).total_seconds()
            self.chat_seconds.labels(run.status).observe(max(0.0, seconds))
        if run.message_seq is not None:
            self.messages_saved.labels("run").inc()

    def context_built(self, report: Report) -> None:
        """Count a prompt."""
        for part, tokens in report.tokens.items():
            if part != "total":
                self.context_tokens.labels(part).inc(tokens)
        if report.source_tokens:
            self.context_compression.observe(report.tokens["segments"] / report.source_tokens)
        self.context_prefix.observe(report.prefix_fraction)
        self.context_seconds.observe(report.build_ms / 1000)
        self.context_wait_seconds.inc(report.wait_ms / 1000)

    def summary_made(self, made: Made) -> None:
        """Count a summary."""
        self.summaries.labels(made.method).inc()
        self.summary_tokens.labels("read").inc(made.tokens)
        self.summary_tokens.labels("written").inc(made.written)

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self._registry)
