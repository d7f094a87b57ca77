# SPDX-License-Identifier: Apache-2.0
"""The language models whose bytes are carried: that of the task `text`, and a larger one."""

from __future__ import annotations

import numpy as np

from folkmoot.protocol.manifest import Manifest
from folkmoot.tasks.text.gpt import Gpt, Sizes

SIZES = {
    "tiny": Sizes(vocabulary=256, context=64, width=64, layers=2, heads=2),
    "1M": Sizes(context=64),
    "10M": Sizes(context=64, width=320, layers=8, heads=8),
}
"""By name: for tests, that of the task, and one of ten million weights."""


def manifest_of(name: str) -> Manifest:
    """Return the layout of a model."""
    arrays = {key: np.asarray(value) for key, value in Gpt(SIZES[name]).state_dict().items()}
    return Manifest.from_arrays(name, arrays)
