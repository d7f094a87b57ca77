# SPDX-License-Identifier: Apache-2.0
"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from server.api.parts import Here, Parts
from server.db import events
from server.db.models import Refusal, Round, Transaction, Update

router = APIRouter(tags=["metrics"])


class _Numbers(Collector):
    def __init__(self, here: Parts) -> None:
        self._here = here

    def collect(self) -> Iterator[GaugeMetricFamily]:
        coordinator = self._here.coordinator
        with coordinator.database.read() as session:
            for name, text, column, label in (
                ("folkmoot_rounds", "Rounds by step.", Round.step, "step"),
                ("folkmoot_transactions", "Transactions of the outbox by state.", Transaction.state, "state"),
                ("folkmoot_refusals", "Refused updates by reason.", Refusal.reason, "reason"),
            ):
                family = GaugeMetricFamily(name, text, labels=[label])
                for value, count in session.execute(select(column, func.count()).group_by(column)):
                    family.add_metric([value], count)
                yield family
            accepted = session.scalar(select(func.count()).select_from(Update)) or 0
            gas = session.scalar(select(func.sum(Transaction.gas_used))) or 0
            newest = events.newest(session)
        yield GaugeMetricFamily("folkmoot_updates_accepted", "Updates accepted.", value=accepted)
        yield GaugeMetricFamily("folkmoot_gas_used", "Gas spent by the coordinator.", value=float(gas))
        yield GaugeMetricFamily("folkmoot_events", "Number of the newest event.", value=newest)
        status = self._here.worker.status
        yield GaugeMetricFamily(
            "folkmoot_indexed_block", "Block whose events are known.", value=status.indexed_block
        )
        yield GaugeMetricFamily(
            "folkmoot_failing", "1 if the last step failed.", value=int(status.error is not None)
        )


@router.get("/metrics", response_class=Response)
def metrics(here: Here) -> Response:
    """Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(here))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
