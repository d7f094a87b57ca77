# SPDX-License-Identifier: Apache-2.0
"""Where the federation is on its chain."""

from __future__ import annotations

from fastapi import APIRouter

from server.api.parts import Parts
from server.api.schemas import DeploymentView

router = APIRouter(tags=["deployment"])


@router.get("/v1/deployment")
def deployment(parts: Parts) -> DeploymentView:
    """The deployment file: save it as deployment.json. Compare it with what others have."""
    return DeploymentView.of(parts.federation.deployment)
