# SPDX-License-Identifier: Apache-2.0
"""A small language model: a decoder with pre-norm blocks, as GPT-2 has them, whose head is its table of tokens.

This module uses tensors, but not texts, tasks or Flower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from folkmoot.errors import TaskError

_DEVIATION = 0.02
"""Standard deviation of the initial weights."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model. The defaults have about one million weights."""

    vocabulary: int = 1024
    context: int = 128
    """Largest number of tokens that the model looks at."""
    width: int = 128
    layers: int = 4
    heads: int = 4
    adapters: int = 0
    """Rank of the adapters; with 0, all weights are trained."""

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            TaskError: One is not a whole number in its range, or the width is not a multiple of the heads.
        """
        for name, value in vars(self).items():
            if type(value) is not int or value < (name != "adapters"):
                raise TaskError(f"The model's {name} is {value!r}.", remedy="Use a whole number above 0.")
        if self.width % self.heads:
            raise TaskError(
                f"The width {self.width} is not a multiple of the {self.heads} heads.",
                remedy="Change the width or the number of heads.",
            )


class Adapted(nn.Linear):
    """A frozen dense layer with a trained product of two small matrices beside it (LoRA, Hu et al. 2021).

    The product is 0 in a new layer.

    Args:
        inputs: Number of inputs.
        outputs: Number of outputs.
        rank: Rank of the product.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__(inputs, outputs)
        self.down = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float[..., outputs] from float[..., inputs]."""
        beside = functional.linear(functional.linear(x, self.down), self.up)
        return super().forward(x) + beside


class Block(nn.Module):
    """Attention and two dense layers, each added to its input."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads

        def layer(inputs: int, outputs: int) -> nn.Linear:
            rank = sizes.adapters
            return Adapted(inputs, outputs, rank) if rank else nn.Linear(inputs, outputs)

        self.before_attention = nn.LayerNorm(width)
        self.attention = layer(width, 3 * width)
        self.attended = layer(width, width)
        self.before_dense = nn.LayerNorm(width)
        self.dense = layer(width, 4 * width)
        self.back = layer(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float[batch, length, width] from the same shape."""
        batch, length, width = x.shape
        parts = self.attention(self.before_attention(x)).reshape(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        attended: torch.Tensor = x + self.attended(seen.transpose(1, 2).reshape(batch, length, width))
        wide = functional.gelu(self.dense(self.before_dense(attended)), approximate="tanh")
        dense: torch.Tensor = self.back(wide)
        return attended + dense


class Gpt(nn.Module):
    """The model. It has no dropout, and nothing in it depends on other examples of a batch.

    Args:
        sizes: Its sizes.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
        self.places = nn.Embedding(sizes.context, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.last_norm = nn.LayerNorm(sizes.width)
        for name, weight in self.named_parameters():
            if name.endswith((".down", ".up")):
                continue
            weight.requires_grad_(not sizes.adapters)
            if weight.dim() == 2:
                ends = name.endswith(("attended.weight", "back.weight"))
                nn.init.normal_(weight, std=_DEVIATION / (math.sqrt(2 * sizes.layers) if ends else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the scores of each next token.

        Args:
            tokens: int64[batch, length], length at most the context.

        Returns:
            float32[batch, length, vocabulary].
        """
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        # The same table at both ends: another name for it in the state dict would be another array of the manifest.
        return functional.linear(self.last_norm(x), self.tokens.weight)


def from_gpt2(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the tensors of a GPT-2 file of Hugging Face's transformers the names and shapes of ``Gpt``.

    Causal masks are left out. Names that GPT-2 does not have stay as they are.

    Raises:
        TaskError: The file has a head that is not its table of tokens.
    """
    named = {name.removeprefix("transformer."): value for name, value in weights.items()}
    if "wte.weight" not in named:
        return dict(weights)
    head = named.pop("lm_head.weight", None)
    if head is not None and not torch.equal(head, named["wte.weight"]):
        raise TaskError(
            "The file's head lm_head.weight is not its table of tokens wte.weight.",
            remedy="Give a model whose head is tied to its table of tokens, as GPT-2's is.",
        )
    arrays = {}
    for name, value in named.items():
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        path, _, kind = name.rpartition(".")
        _, layer, part = path.split(".", 2) if path.startswith("h.") else ("", "", path)
        part = _GPT2_PARTS.get(part, part)
        # GPT-2's dense layers have their weights as [inputs, outputs].
        turned = value.T if kind == "weight" and layer and value.dim() == 2 else value
        arrays[f"blocks.{layer}.{part}.{kind}" if layer else f"{part}.{kind}"] = turned
    return arrays


_GPT2_PARTS = {
    "wte": "tokens",
    "wpe": "places",
    "ln_f": "last_norm",
    "ln_1": "before_attention",
    "attn.c_attn": "attention",
    "attn.c_proj": "attended",
    "ln_2": "before_dense",
    "mlp.c_fc": "dense",
    "mlp.c_proj": "back",
}


def losses_of(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood of each target, in nats: float32[batch, length]."""
    scores = model(inputs)
    return functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none").view_as(
        targets
    )


def sample(
    model: nn.Module, tokens: list[int], count: int, *, context: int, temperature: float, seed: int
) -> list[int]:
    """Draw tokens that go on after the given ones.

    Args:
        model: The model.
        tokens: The tokens before; at least one.
        count: How many to draw.
        context: Largest number of tokens that the model looks at.
        temperature: Divisor of the scores; with 0, always the most likely token.
        seed: Equal seeds give equal tokens on one machine.

    Returns:
        The tokens that were drawn.

    Raises:
        TaskError: ``useless-model``: the scores are not finite.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    all_tokens = list(tokens)
    with torch.no_grad():
        for _ in range(count):
            scores: Any = model(torch.tensor([all_tokens[-context:]]))[0, -1].double()
            if not bool(torch.isfinite(scores).all()):
                raise TaskError(
                    "The model writes nothing: its scores are infinite, or no numbers.",
                    remedy="Give another version; the weights of this one are useless.",
                    code="useless-model",
                )
            if temperature == 0:
                all_tokens.append(int(scores.argmax()))
            else:
                chances = torch.softmax((scores - scores.max()) / temperature, dim=0)
                all_tokens.append(int(torch.multinomial(chances, 1, generator=generator)))
    return all_tokens[len(tokens) :]
