# SPDX-License-Identifier: Apache-2.0
"""The task `text`, a small language model on works of Shakespeare and Milton, and what such a task is made of.

This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from folkmoot.errors import TaskError
from folkmoot.tasks import Data, HeldOutPredictions, supervised
from folkmoot.tasks.text import texts
from folkmoot.tasks.text.bpe import Encoding

if TYPE_CHECKING:
    import torch

    from folkmoot.tasks.memory import Memory

_SEEN = 1536
"""Characters of each work of which the training loss is taken."""
_PIECES = 32  # Pieces of text that are measured at a time.


class LanguageTask(ABC):
    """A task with a language model. A task of one's own is a subclass with ``name``, ``load`` and ``held_out``."""

    name = ""
    training: ClassVar[dict[str, Any]] = {
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
        """The encoding of the texts: that of the task `text`, which encodes any text."""
        return texts.encoding()

    def model(self) -> torch.nn.Module:
        """Return the model, of the sizes in the training settings. Those of the task `text` give 932,608 weights."""
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

    @abstractmethod
    def load(self, partition: int, partitions: int, seed: int) -> Data:
        """Return the contributor's own text, by ``data_of``."""

    @abstractmethod
    def held_out(self) -> Sequence[tuple[str, Sequence[int]]]:
        """Return the group and the tokens of each text that nobody trains on. Everybody has the same."""

    def seen(self) -> Sequence[tuple[str, Sequence[int]]]:
        """Return texts for training of which everybody can take the loss; by default none."""
        return ()

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        """Train in place with AdamW, whose state is in the memory. Return the number of tokens."""
        import torch

        from folkmoot.tasks.text import training

        tokens = torch.cat([data.inputs[:1], data.labels])
        settings.get("report", {})["loss"] = training.train(model, tokens, settings, memory)
        return len(data)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the loss a token and the perplexity of the held-out texts, and the loss of texts for training."""
        loss = self._loss(model, self.held_out())
        measured = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
        if seen := self.seen():
            measured["training_loss"] = self._loss(model, seen)
        return measured

    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        """Return the loss of each piece of the held-out texts, with their groups."""
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

    def _loss(self, model: torch.nn.Module, groups: Sequence[tuple[str, Sequence[int]]]) -> float:
        losses, weights, _ = self._measured(model, groups)
        return math.fsum(a * b for a, b in zip(losses, weights, strict=True)) / sum(weights)

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
        names: list[str] = []
        for name, tokens in groups:
            row = torch.as_tensor(tokens)
            count = (len(row) - 1) // context
            inputs = row[: count * context].view(count, context)
            targets = row[1 : count * context + 1].view(count, context)
            with torch.no_grad():
                for at in range(0, count, _PIECES):
                    batch_losses = losses_of(model, inputs[at : at + _PIECES], targets[at : at + _PIECES])
                    losses += batch_losses.double().mean(dim=1).tolist()
            names += [name] * count
        if not losses:
            raise TaskError(
                f"The held-out texts of the task {self.name!r} have no piece of {context + 1} tokens.",
                remedy="Hold out longer texts.",
            )
        return losses, [context] * len(losses), names


class TextTask(LanguageTask):
    """The task ``text``."""

    name = "text"

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        """Return one contributor's part of the works. The parts follow each other, so that each has works of its own.

        ``seed`` changes nothing.
        """
        return self.data_of(self.encoding.encode(texts.share_of(partition, partitions)))

    def root(self, kind: str) -> Data:
        """Return the texts of a root set: a part of each work, or only of the first half of the works."""
        return self.data_of(self.encoding.encode(texts.root_set(kind)))

    def held_out(self) -> Sequence[tuple[str, Sequence[int]]]:
        """Return the end of each work. The groups are the kinds of works."""
        return [(work.kind, self.encoding.encode(work.held_out)) for work in texts.parts()]

    def seen(self) -> Sequence[tuple[str, Sequence[int]]]:
        """Return the beginning of each work."""
        return [(work.kind, self.encoding.encode(work.training[:_SEEN])) for work in texts.parts()]


task = TextTask()
