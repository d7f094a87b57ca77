# SPDX-License-Identifier: Apache-2.0
"""The task `text` with larger models, one short step a round: for ``python -m benchmarks.growth.training``."""

from __future__ import annotations

from typing import Any, ClassVar

from folkmoot.tasks.text.task import TextTask

_SHORT = {"local_steps": 1, "batch_size": 1}


class Text3(TextTask):
    """3.4 million weights."""

    name = "text-3"
    training: ClassVar[dict[str, Any]] = {**TextTask.training, **_SHORT, "width": 256}


class Text30(TextTask):
    """28.9 million weights."""

    name = "text-30"
    training: ClassVar[dict[str, Any]] = {
        **TextTask.training,
        **_SHORT,
        "width": 512,
        "layers": 9,
        "heads": 8,
    }


class Text100(TextTask):
    """100.7 million weights."""

    name = "text-100"
    training: ClassVar[dict[str, Any]] = {
        **TextTask.training,
        **_SHORT,
        "width": 832,
        "layers": 12,
        "heads": 8,
    }
