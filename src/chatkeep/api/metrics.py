"""What Prometheus reads. Labels are route templates, statuses and names of ours: bounded, and without content."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

from chatkeep.domain.runs import Run

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
        self.history_seconds = Histogram("history_latency_seconds", "Time to read messages", registry=registry)

    def run_ended(self, run: Run) -> None:
        """Count a run that has ended in this process."""
        if run.finished_at is not None:
            seconds = (run.finished_at - run.created_at).total_seconds()
            self.chat_seconds.labels(run.status).observe(max(0.0, seconds))
        if run.message_seq is not None:
            self.messages_saved.labels("run").inc()

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self._registry)
