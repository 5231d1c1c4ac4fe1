"""Prometheus metrics of the front. No label ever holds a session or user id."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


class Metrics:
    """One registry per application, so that tests do not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.sessions_active = Gauge("avatar_sessions_active", "Sessions with an open socket", registry=r)
        self.sessions_speaking = Gauge("avatar_sessions_speaking", "Sessions whose frames a host renders", registry=r)
        self.sessions_total = Counter("avatar_sessions_total", "Sessions begun", registry=r)
        self.sessions_detached = Counter("avatar_sessions_detached_total", "Connections lost in a session", registry=r)
        self.sessions_resumed = Counter("avatar_sessions_resumed_total", "Sessions taken up again", registry=r)
        self.rejected = Counter("avatar_sessions_rejected_total", "Handshakes refused", ["reason"], registry=r)
        self.worker_slots = Gauge("avatar_worker_slots", "Engine hosts by state", ["state"], registry=r)
        self.first_frame = Histogram(
            "avatar_first_frame_seconds", "From INIT to the first frame", buckets=_LATENCY_BUCKETS, registry=r
        )
        self.frame_latency = Histogram(
            "avatar_frame_latency_seconds",
            "Lateness of the frame clock",
            buckets=_LATENCY_BUCKETS,
            registry=r,
        )
        self.frames = Counter(
            "avatar_frames_total",
            "Frames by result: sent, held, late, filled, skipped, dropped",
            ["result"],
            registry=r,
        )
        self.painter = Counter(
            "avatar_painter_total",
            "MuseTalk's work for all hosts: frames painted, those of them that were late, and batches",
            ["result"],
            registry=r,
        )
        self.stage_seconds = Histogram(
            "avatar_stage_seconds",
            "Host CPU per frame by stage",
            ["stage"],
            buckets=_LATENCY_BUCKETS,
            registry=r,
        )
        self.failovers = Counter("avatar_failovers_total", "Sessions moved off a host", ["cause"], registry=r)
        self.failover_gap = Histogram(
            "avatar_failover_gap_seconds",
            "From the loss of a host to the first frame from another",
            buckets=(0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12),
            registry=r,
        )
        self.engine_changes = Counter("avatar_engine_changes_total", "Engine changes", ["engine"], registry=r)
        self.splices = Counter(
            "avatar_splices_total", "Changes between idle packets and live frames", ["to"], registry=r
        )
        self.errors = Counter("avatar_errors_total", "ERROR messages sent", ["code"], registry=r)
        self.event_loop_tasks = Gauge("avatar_event_loop_tasks", "Tasks of the front's event loop", registry=r)
        self.messages = Counter("avatar_messages_total", "Client messages by type", ["type"], registry=r)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
