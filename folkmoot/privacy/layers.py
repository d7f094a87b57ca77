# SPDX-License-Identifier: Apache-2.0
"""Refuse models in which one record changes the gradient of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from folkmoot.errors import TaskError

if TYPE_CHECKING:
    import torch


def check_layers(model: torch.nn.Module) -> None:
    """Check that no layer of a model computes statistics over several records.

    Raises:
        TaskError: A layer does (``layer-mixes-records``), or the model has nothing to train.
    """
    from torch.nn.modules.batchnorm import _NormBase

    for name, layer in model.named_modules():
        # An InstanceNorm without running statistics normalises each record by itself.
        if isinstance(layer, _NormBase) and (
            "BatchNorm" in type(layer).__name__ or layer.track_running_stats
        ):
            raise TaskError(
                f"The layer {name or 'at the top'!r} ({type(layer).__name__}) mixes records: a clipped gradient would "
                "no longer bound what one record changes.",
                remedy="Use GroupNorm or LayerNorm, or compute the features before a small head outside of the model.",
                code="layer-mixes-records",
                details={"layer": name},
            )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TaskError("The model has no parameter to train.", remedy="Set requires_grad of some to True.")
