"""The web process. `PORT=8000 python3 -m storefront.web`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import Any

import jinja2
import prometheus_client
import uvicorn
from openfeature.evaluation_context import EvaluationContext
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import flags, settings, store
from .catalogue import PRODUCTS, check_order, total
from .faults import Faults, InjectedError, parse

# A second series of each counter that nobody asked for.
prometheus_client.disable_created_metrics()

HERE = Path(__file__).parent
MAX_ORDER_BYTES = 4096
MAX_SLOW_SECONDS = 30.0
VISITOR = "visitor"

REQUESTS = prometheus_client.Counter("http_requests", "Requests answered.", ["method", "path", "status", "release"])
SECONDS = prometheus_client.Histogram(
    "http_request_duration_seconds",
    "Seconds from request to the end of its answer.",
    ["path", "release"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
EXCEPTIONS = prometheus_client.Counter("exceptions", "Exceptions that ended a request.", ["type", "release"])
ORDERS = prometheus_client.Counter("storefront_orders", "Orders taken.", ["release"])
WORKER_AGE = prometheus_client.Gauge("storefront_worker_heartbeat_age_seconds", "Seconds since the worker's last turn.")
INFO = prometheus_client.Gauge("storefront_info", "Always 1, with the release that answers.", ["release"])


class Shop:
    """The handlers, and what they know."""

    def __init__(self, chosen: settings.Settings, faults: Faults) -> None:
        self.settings = chosen
        self.faults = faults
        self.flags = flags.Flags(chosen.flags)
        self.visits = 0
        self.checkouts = 0
        self.began = time.monotonic()
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True)
        self.template = environment.get_template("page.html")
        # Style and script are part of the page: while a release rolls, the next request may meet the other release.
        self.style = (HERE / "page.css").read_text(encoding="utf-8")
        self.script = (HERE / "page.js").read_text(encoding="utf-8")
        # The line that says when this was deployed last comes from the status page, where there is one.
        status = f" {chosen.status}" if chosen.status else ""
        self.headers = {
            "Content-Security-Policy": f"default-src 'none'; connect-src 'self'{status}; base-uri 'none'; form-action 'none'; "
            f"style-src {_source(self.style)}; script-src {_source(self.script)}{status}; img-src data:",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }

    async def visit(self) -> None:
        """Count a page or an order, and suffer the faults that this release was given."""
        self.visits += 1
        if self.faults.crash_after and self.visits >= self.faults.crash_after:
            os._exit(70)
        if self.faults.slow:
            await asyncio.sleep(self.faults.slow)
        if self.faults.fails(self.visits):
            raise InjectedError(f"request {self.visits} fails on purpose")

    def check_out(self, new: bool) -> None:
        """Count a page or an order with the new checkout, and suffer the fault that it was given."""
        self.checkouts += new
        if new and self.faults.fails_in_checkout(self.checkouts):
            raise InjectedError(f"number {self.checkouts} with the new checkout fails on purpose")

    def who(self, request: Request) -> tuple[EvaluationContext, str]:
        """The user as the flags see them, and the cookie that a new visitor is given: whoever comes again gets the same share of a percentage."""
        known = request.cookies.get(VISITOR, "")[:64]
        visitor = known or secrets.token_hex(8)
        return flags.user(request.query_params, visitor), "" if known or "targetingKey" in request.query_params else visitor

    async def page(self, request: Request) -> Response:
        user, visitor = self.who(request)
        given = self.flags.values(user)
        await self.visit()
        self.check_out(given["checkout"])
        text = self.template.render(
            flags=given,
            products=list(PRODUCTS.values()),
            best=[PRODUCTS[name] for name in store.best_sellers(self.settings.shared) if name in PRODUCTS],
            release=self.settings.release,
            host=self.settings.host,
            status=self.settings.status,
            environment=self.settings.environment,
            style=self.style,
            script=self.script,
        )
        answer = HTMLResponse(text, headers=self.headers)
        if visitor:
            answer.set_cookie(VISITOR, visitor, max_age=365 * 86400, httponly=True, samesite="lax")
        return answer

    async def what_flags_give(self, request: Request) -> Response:
        """What the user of the query gets of each flag, for those who want to see it before they switch."""
        user, _visitor = self.who(request)
        given = {key: {"value": one.value, "variant": one.variant, "reason": one.reason} for key, one in self.flags.preview(user).items()}
        return JSONResponse({"generation": self.flags.generation(), "flags": given, "release": self.settings.release})

    async def order(self, request: Request) -> Response:
        """An order goes through the checkout that its page has shown: the flag has its say again, and how it ends is counted for its variant."""
        user, _visitor = self.who(request)
        new = self.flags.value("checkout", user)
        await self.visit()
        self.check_out(new)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_ORDER_BYTES:
                return JSONResponse({"error": f"an order has at most {MAX_ORDER_BYTES} bytes"}, 413)
        try:
            items = check_order(json.loads(body))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        store.add_order(self.settings.shared, items)
        ORDERS.labels(self.settings.release).inc()
        return JSONResponse({"cents": total(items), "release": self.settings.release}, 201)

    async def live(self, _request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(self, _request: Request) -> Response:
        """Whether this process can do its work; asked to stop, it stays ready until its last request is answered."""
        why = self.unready()
        return JSONResponse({"ready": not why, "why": why, "release": self.settings.release}, 503 if why else 200)

    def unready(self) -> str | None:
        """Why no request should come here, None when they may."""
        if fault := self.faults.unready(time.monotonic() - self.began):
            return fault
        if not os.access(self.settings.shared, os.W_OK | os.X_OK):
            return f"the shared folder {self.settings.shared} is missing or not writable (STOREFRONT_SHARED)"
        return None

    async def metrics(self, _request: Request) -> Response:
        WORKER_AGE.set(store.heartbeat_age(self.settings.shared))
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def slow(self, request: Request) -> Response:
        """Answer after ?seconds=n: something in flight, for tests of stopping and draining."""
        try:
            seconds = float(request.query_params.get("seconds", "1"))
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= MAX_SLOW_SECONDS:
            return PlainTextResponse(f"seconds must be 0 to {MAX_SLOW_SECONDS:g}\n", 400)
        await asyncio.sleep(seconds)
        return PlainTextResponse(f"after {seconds:g} s\n")


class Measured:
    """Adds the header X-Release to every answer and counts it. Paths that are no route share one label."""

    def __init__(self, app: ASGIApp, release: str, paths: frozenset[str]) -> None:
        self.app = app
        self.release = release
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self.paths else "other"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
        status = 500
        token = flags.begin()
        began = time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-release", self.release.encode("latin-1", "replace"))]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception as error:
            EXCEPTIONS.labels(type(error).__name__, self.release).inc()
            raise
        finally:
            REQUESTS.labels(method, path, str(status), self.release).inc()
            SECONDS.labels(path, self.release).observe(time.perf_counter() - began)
            flags.end(token, failed=status >= 500)


def application(chosen: settings.Settings, faults: Faults) -> ASGIApp:
    """The whole application."""
    shop = Shop(chosen, faults)
    routes = [
        Route("/", shop.page),
        Route("/orders", shop.order, methods=["POST"]),
        Route("/flags", shop.what_flags_give),
        Route("/healthz", shop.live),
        Route("/readyz", shop.ready),
        Route("/metrics", shop.metrics),
        Route("/slow", shop.slow),
    ]
    INFO.labels(chosen.release).set(1)
    return Measured(Starlette(routes=routes), chosen.release, frozenset(route.path for route in routes))


def main() -> None:
    """Serve until SIGTERM: then no new connection, what is in flight is finished, and the process ends."""
    chosen = settings.load()
    faults = parse(chosen.fault)
    if faults.crash_at_start:
        raise SystemExit("this release was built to end at its start (fault crash-at-start)")
    options: dict[str, Any] = {"access_log": False, "log_level": "warning", "server_header": False, "loop": "asyncio", "http": "h11"}
    config = uvicorn.Config(
        application(chosen, faults),
        host="0.0.0.0",
        port=chosen.port,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=chosen.stop_seconds,
        backlog=2048,
        **options,
    )
    print(f"storefront {chosen.release} web: port {chosen.port}, shared {chosen.shared}, fault {chosen.fault or 'none'}", flush=True)
    _end_later(faults)
    uvicorn.Server(config).run()


def _end_later(faults: Faults) -> None:
    """Have the process end, or stop in the middle of everything, when a fault says so."""
    for seconds, end in ((faults.exit_after, lambda: os._exit(70)), (faults.deaf_after, lambda: os.kill(os.getpid(), signal.SIGSTOP))):
        if seconds:
            timer = threading.Timer(seconds, end)
            timer.daemon = True
            timer.start()


def _source(text: str) -> str:
    """The Content-Security-Policy source that allows exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


if __name__ == "__main__":
    main()
