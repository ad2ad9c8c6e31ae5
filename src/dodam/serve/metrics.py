"""What the server counts, in Prometheus' text form: requests, tokens, times, and how full each model is."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dodam.serve.worker import Worker

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """The counters of one server; each has its own registry, so several can live in one process."""

    def __init__(self, workers: dict[str, Worker]) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "dodam_requests", "HTTP requests by path and status.", ("path", "status"), registry=registry
        )
        self.tokens = Counter("dodam_tokens", "Tokens read and written.", ("model", "kind"), registry=registry)
        self.first_token = Histogram(
            "dodam_first_token_seconds", "Time to the first token.", ("model",), registry=registry, buckets=SECONDS
        )
        self.answer = Histogram(
            "dodam_answer_seconds", "Time of a whole answer.", ("model",), registry=registry, buckets=SECONDS
        )
        running = Gauge("dodam_running", "Sequences being generated.", ("model",), registry=registry)
        waiting = Gauge("dodam_waiting", "Sequences waiting for a row.", ("model",), registry=registry)
        for name, worker in workers.items():
            scheduler = worker.engine.scheduler
            running.labels(name).set_function(lambda scheduler=scheduler: len(scheduler.running))
            waiting.labels(name).set_function(lambda scheduler=scheduler: len(scheduler.waiting))

    def text(self) -> bytes:
        return generate_latest(self.registry)


class CountRequests:
    """Middleware that counts every request by its route, so that made-up paths do not make up counters."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self.metrics.requests.labels(path, message["status"]).inc()
            await send(message)

        await self.app(scope, receive, counted)
