# SPDX-License-Identifier: Apache-2.0
"""Attestations of audits: write one of this audit, and use those of others for rounds whose updates were deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eth_account.signers.local import LocalAccount

from folkmoot.audit.audit import Summary
from folkmoot.errors import InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.attestation import Attestation
from folkmoot.protocol.commitment import Domain
from folkmoot.runtime.files import write_whole

SIZE_LIMIT = 64 * 2**20
"""Maximum size in bytes of an attestation."""


def attest(summary: Summary, deployment: Deployment, account: LocalAccount) -> Attestation:
    """Return the signed attestation of an audit that found nothing wrong."""
    domain = Domain(deployment.chain_id, deployment.ledger)
    head, expired = summary.head, tuple(sorted(summary.expired))
    recomputed = {number: word for number, word in summary.anchors.items() if number not in summary.expired}
    made = Attestation(domain, head.number, head.hash, recomputed, expired, account.address)
    return made.signed(account)


def write(attestation: Attestation, path: Path) -> None:
    """Write an attestation, all of it or nothing."""
    try:
        write_whole(path, attestation.to_json())
    except OSError as error:
        raise InputError(
            f"The attestation {path} can't be written: {error.strerror or error}.",
            remedy="Give another file by --attest.",
            code="attestation-unwritable",
        ) from error


def read(folder: Path, deployment: Deployment) -> list[Attestation]:
    """Read all files of a folder, whose auditors the user knows."""
    domain = Domain(deployment.chain_id, deployment.ledger)
    attestations = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
        if not paths:
            raise _unusable(folder, "it has no file that ends with .json")
        for path in paths:
            if path.stat().st_size > SIZE_LIMIT:
                raise _unusable(path, f"it has more than {SIZE_LIMIT} bytes")
            try:
                made = Attestation.from_json(path.read_bytes())
            except InputError as error:
                raise _unusable(path, error.message.rstrip(".")) from error
            if made.domain != domain:
                raise _unusable(
                    path, f"it is of {made.domain.verifying_contract} on chain {made.domain.chain_id}"
                )
            attestations.append(made)
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error
    return attestations


def compare(attestations: Sequence[Attestation], summary: Summary) -> None:
    """Note in a summary who attests that an expired round was recomputed.

    An attestation counts for a round if its anchor is the one that the ledger stores. Otherwise it is of a history that
    the chain has not kept, which becomes a note.
    """
    for attestation in attestations:
        for number in summary.expired:
            attested = attestation.recomputed.get(number)
            if attested is None:
                continue
            if attested != summary.anchors[number]:
                summary.notes.append(
                    f"{attestation.auditor} recomputed another anchor of round {number}, at block "
                    f"{attestation.block}, than the ledger stores: the attestation does not count for this round."
                )
            elif attestation.auditor not in summary.attested.setdefault(number, []):
                summary.attested[number].append(attestation.auditor)


def _unusable(path: Path, why: str) -> InputError:
    return InputError(
        f"The attestations can't be read: {path}: {why}.",
        remedy="Remove the file from the folder, or ask its auditor for the right one.",
        code="invalid-attestation",
        details={"file": str(path)},
    )
