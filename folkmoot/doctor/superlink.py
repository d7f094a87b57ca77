# SPDX-License-Identifier: Apache-2.0
"""Checks of a SuperLink from outside: its connection, certificate, health and clock."""

from __future__ import annotations

import httpx

from folkmoot.doctor import tls
from folkmoot.doctor.check import Check, Finding, ok, warning
from folkmoot.errors import LocalError
from folkmoot.runtime.superlink import TIMEOUT, SuperLink, is_loopback


def superlink_checks(superlink: SuperLink) -> list[Check]:
    """Return the checks of a SuperLink."""
    there = _SuperLink(superlink)
    return [
        Check("SuperLink's TLS", there.certificate),
        Check("SuperLink", there.health, ("SuperLink's TLS",)),
        Check("SuperLink's clock", there.clock, ("SuperLink",)),
    ]


class _SuperLink:
    def __init__(self, superlink: SuperLink) -> None:
        self._place = superlink
        self._date: str | None = None

    def certificate(self) -> Finding:
        place = self._place
        if place.insecure:
            place.check()
            if is_loopback(place.host):
                return ok("It is on this machine, and the connection has no TLS.")
            return warning(
                f"The connection to {place.address} has no TLS: others in the network can read and change its data.",
                "Updates are signed and the base is checked, so a change is noticed; for the rest give the SuperLink a "
                "certificate, and leave --insecure away.",
            )
        return tls.certificate(place.host, place.port, place.context())

    def health(self) -> Finding:
        place = self._place
        scheme, verify = ("http", False) if place.insecure else ("https", place.context())
        try:
            with httpx.Client(timeout=TIMEOUT, verify=verify, trust_env=False) as client:
                answer = client.get(f"{scheme}://{place.address}/health")
        except httpx.HTTPError as error:
            raise LocalError(
                f"Something listens at {place.address}, and does not answer as a SuperLink: "
                f"{str(error) or type(error).__name__}.",
                remedy="Check address and port with the coordinator's operator, and the SuperLink's log.",
                code="superlink-unreachable",
            ) from error
        self._date = answer.headers.get("Date")
        if answer.status_code != httpx.codes.OK:
            return warning(
                f"{place.address} answers /health with HTTP {answer.status_code}.",
                "Check that it is a SuperLink of the Flower release that Folkmoot needs, and read its log.",
            )
        return ok(f"{place.address} says that it is well.")

    def clock(self) -> Finding:
        return tls.clock(
            self._date, "The SuperLink", "messages carry times, and Flower forgets those that seem old"
        )
