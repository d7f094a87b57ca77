# SPDX-License-Identifier: Apache-2.0
"""The task `text`: a small language model on works of Shakespeare and Milton.

A task of one's own on other texts is a subclass with another ``name``, ``load`` and ``held_out``
(docs/language-models.md). This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from folkmoot.errors import TaskError
from folkmoot.tasks import Data, HeldOutPredictions, supervised
from folkmoot.tasks.text import texts
from folkmoot.tasks.text.bpe import Encoding

if TYPE_CHECKING:
    import torch

    from folkmoot.tasks.memory import Memory

_TRAINING_TOKENS = 640
"""Tokens of each work of which ``evaluate`` takes the training loss."""
_PIECES = 32  # Pieces of text that are measured at a time.


class TextTask:
    """The task ``text``."""

    name = "text"
    training: dict[str, Any] = {  # noqa: RUF012
        "vocabulary": 1024,
        "context": 64,
        "width": 128,
        "layers": 4,
        "heads": 4,
        "local_steps": 80,
        "batch_size": 12,
        "learning_rate": 0.002,
        "warmup_rounds": 0.5,
        "steady_rounds": 5,
        "cold_steps": 5,
        "weight_decay": 0.1,
    }

    @property
    def encoding(self) -> Encoding:
        """The encoding of the texts."""
        return texts.encoding()

    def model(self) -> torch.nn.Module:
        """Return the model, of the sizes in the training settings: 932,608 weights."""
        from folkmoot.tasks.text.gpt import Gpt, Sizes

        sizes = Sizes(
            **{name: self.training[name] for name in Sizes.__annotations__ if name in self.training}
        )
        if self.encoding.size > sizes.vocabulary:
            raise TaskError(
                f"The encoding has {self.encoding.size} tokens, and the model knows {sizes.vocabulary}.",
                remedy="Make the training setting vocabulary as large as the encoding.",
            )
        return supervised.seeded(lambda: Gpt(sizes), seed=1)

    def from_weights(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Give the tensors of a GPT-2 file the names and shapes of the model, for `task init --from`."""
        from folkmoot.tasks.text.gpt import from_gpt2

        return from_gpt2(weights)

    def data_of(self, tokens: Sequence[int]) -> Data:
        """Return tokens as data: each one, and the one that comes after it. An example is a token."""
        import torch

        row = torch.as_tensor(tokens)
        return Data(row[:-1], row[1:])

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        """Return one contributor's part of the works. The parts follow each other, so that each has works of its own.

        ``seed`` changes nothing.
        """
        return self.data_of(texts.share_of(partition, partitions))  # type: ignore[arg-type]

    def root(self, kind: str) -> Data:
        """Return the texts of a root set: a part of each work, or only of the first half of the works."""
        return self.data_of(texts.root_set(kind))  # type: ignore[arg-type]

    def held_out(self) -> list[tuple[str, Sequence[int]]]:
        """Return the group and the tokens of each text that nobody trains on."""
        return [(work.kind, work.held_out) for work in texts.parts()]  # type: ignore[misc]

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        """Train in place with AdamW, whose state is in the memory."""
        import torch

        from folkmoot.tasks.text import training

        tokens = torch.cat([data.inputs[:1], data.labels])
        training.train(model, tokens, settings, memory)
        return len(data)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the loss a token and the perplexity on the held-out texts, and the loss on texts for training."""
        held_out, weights, _ = self._measured(model, self.held_out())
        loss = math.fsum(a * b for a, b in zip(held_out, weights, strict=True)) / sum(weights)
        trained = [(work.kind, work.training[:_TRAINING_TOKENS]) for work in texts.parts()]
        losses, weights, _ = self._measured(model, trained)  # type: ignore[arg-type]
        training_loss = math.fsum(a * b for a, b in zip(losses, weights, strict=True)) / sum(weights)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "training_loss": training_loss}

    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        """Return the loss of each piece of the held-out texts. The groups are the kinds of works."""
        losses, weights, groups = self._measured(model, self.held_out())
        return HeldOutPredictions(losses=losses, weights=weights, groups=groups)

    def generate(
        self, model: torch.nn.Module, prompt: str, *, tokens: int, temperature: float, seed: int
    ) -> str:
        """Return text that a model writes after a prompt. Equal seeds give equal texts on one machine.

        Args:
            model: The model.
            prompt: The text before. An empty one is the beginning of a paragraph.
            tokens: Number of tokens to write.
            temperature: 0 for the most likely token each time; 1 for the model's own chances.
            seed: Seed of the draws.
        """
        from folkmoot.tasks.text import gpt

        before = self.encoding.encode(prompt or "\n\n")
        context = int(self.training["context"])
        drawn = gpt.sample(model, before, tokens, context=context, temperature=temperature, seed=seed)
        return self.encoding.decode(drawn)

    def _measured(
        self, model: torch.nn.Module, groups: Sequence[tuple[str, Sequence[int]]]
    ) -> tuple[list[float], list[int], list[str]]:
        """Cut texts into pieces. Return each piece's mean loss, number of predicted tokens, and group."""
        import torch

        from folkmoot.tasks.text.gpt import losses_of

        torch.set_num_threads(1)
        model.eval()
        context = int(self.training["context"])
        losses: list[float] = []
        weights: list[int] = []
        names: list[str] = []
        for name, tokens in groups:
            row = torch.as_tensor(tokens)
            count = (len(row) - 1) // context
            inputs = row[: count * context].view(count, context)
            targets = row[1 : count * context + 1].view(count, context)
            with torch.no_grad():
                for at in range(0, count, _PIECES):
                    found = losses_of(model, inputs[at : at + _PIECES], targets[at : at + _PIECES])
                    losses += found.double().mean(dim=1).tolist()
            weights += [context] * count
            names += [name] * count
        return losses, weights, names


task = TextTask()
