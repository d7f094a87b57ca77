# SPDX-License-Identifier: Apache-2.0
"""Compare the model files that a coordinator hands out with the states on the chain (docs/protocol.md section 14)."""

from __future__ import annotations

from folkmoot.artifacts.model import WRONG, check_handed_out
from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.audit.failure import Subject, mismatch
from folkmoot.audit.outcome import Recomputation
from folkmoot.errors import ArtifactError
from folkmoot.protocol.hashing import sha256_of

_CHECK = "models"


def check_model(coordinator: CoordinatorSource, recomputation: Recomputation, number: int) -> bool:
    """Compare the file of one version.

    Returns:
        Whether there was one to compare: a web server with files hands out none.

    Raises:
        AuditFailure: The coordinator hands out another file, or none.
        ArtifactError: It gave no answer.
    """
    root = recomputation.ledger.state_root(number)
    state = recomputation.state_after(number)
    origin = recomputation.origin
    sha256, size = sha256_of(state.safetensors_chunks(origin.manifest, number, root, origin.files))
    try:
        return check_handed_out(coordinator, number, sha256, size)
    except ArtifactError as error:
        if error.code == "artifact-unreachable":
            raise
        found = error.details.get("found", "nothing")
        subject = Subject(check=_CHECK, round=number, artifact=str(found) if error.code == WRONG else None)
        what = f"the safetensors file that {coordinator.url} hands out"
        expected = f"the file of the state 0x{root.hex()}"
        raise mismatch(subject, what, expected, error.message, remedy=error.remedy) from error
