# SPDX-License-Identifier: Apache-2.0
"""Numbers for Prometheus: what was counted and what was read last. A scrape asks neither database nor chain."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from server.api.parts import Parts

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response)
def metrics(parts: Parts) -> Response:
    """Prometheus text format."""
    return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)
