"""Counts and times requests, and logs each as one line without its query."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from acceleratorAPI.store import metrics

log = logging.getLogger("acceleratorAPI.store.access")


class RequestLog:
    """The outermost layer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Let it through and watch."""
        started = time.perf_counter()
        response = self._get_response(request)
        seconds = time.perf_counter() - started
        # The route, not the path: strangers could make any number of series.
        route = request.resolver_match.route if request.resolver_match else "(none)"
        metrics.REQUESTS.labels(request.method or "", route, str(response.status_code)).inc()
        metrics.SECONDS.labels(route).observe(seconds)
        # The path is what a stranger sent; the query, where secrets travel, is left out.
        path = ascii(request.path[:200])[1:-1]
        log.info("%s %s %d in %.3f s", request.method, path, response.status_code, seconds)
        return response
