# SPDX-License-Identifier: Apache-2.0
"""Public feature extractors: fixed functions of an image that no data were used for, before small private heads.

The fewer weights a model trains, the less noise its update has. This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import math

import torch


class GradientHistograms(torch.nn.Module):
    """Histograms of oriented gradients (Dalal, Triggs 2005): how strong the edges of a direction are in each cell.

    Each pixel's gradient goes to the two nearest directions, in proportion. The square roots of
    an image's histograms are taken relative to their mean, and have a norm of 1 together. The module has no parameters
    and no buffers.

    Args:
        rows: Rows of an image of one channel.
        columns: Its columns.
        cell: Rows and columns of a cell, which must divide the image.
        directions: Number of directions of a full turn.
    """

    def __init__(self, rows: int, columns: int, cell: int, directions: int = 8) -> None:
        super().__init__()
        self.shape, self.cell, self.directions = (rows, columns), cell, directions
        self.outputs = (rows // cell) * (columns // cell) * directions

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float32[n, rows * columns values in any shape] to float32[n, outputs]."""
        pixels = images.reshape(-1, 1, *self.shape)
        framed = torch.nn.functional.pad(pixels, (1, 1, 1, 1), mode="replicate")
        across = framed[..., 1:-1, 2:] - framed[..., 1:-1, :-2]
        down = framed[..., 2:, 1:-1] - framed[..., :-2, 1:-1]
        size = torch.sqrt(across**2 + down**2)
        turn = torch.atan2(down, across) * (self.directions / (2 * math.pi)) % self.directions
        centres = torch.arange(self.directions, dtype=images.dtype).reshape(1, -1, 1, 1)
        apart = (turn - centres).abs()
        share = (1 - torch.minimum(apart, self.directions - apart)).clamp(min=0)
        cells = torch.nn.functional.avg_pool2d(size * share, self.cell)
        roots = torch.sqrt(cells.flatten(1) + 1e-12)
        return torch.nn.functional.normalize(roots - roots.mean(dim=1, keepdim=True), dim=1)


def linear_head(inputs: int, outputs: int) -> torch.nn.Linear:
    """Return a linear layer whose weights are zero. Without a bias, a record's gradient has no part that all share."""
    head: torch.nn.Linear = torch.nn.utils.skip_init(torch.nn.Linear, inputs, outputs, bias=False)
    torch.nn.init.zeros_(head.weight)
    return head
