# SPDX-License-Identifier: Apache-2.0
"""How fast the task `text` learns, and what it writes after each round: ``python -m benchmarks.text``.

Contributors train on works of their own, and their models are averaged (the rule ``mean``, without codec and chain).
``--optimizer kept`` is the task as it is: AdamW, whose state a contributor keeps from round to round. ``cold`` starts
each round with an empty state, ``sgd`` is SGD with momentum 0.9, which has nothing to keep.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from folkmoot.tasks.text.task import TextTask

if TYPE_CHECKING:
    import torch

OPTIMIZERS = ("kept", "cold", "sgd")


def sgd(model: torch.nn.Module, tokens: torch.Tensor, settings: dict[str, Any], rate: float) -> None:
    """Train a model in place with SGD and clipped gradients, on as many pieces as the task takes."""
    import torch

    from folkmoot.tasks.text.gpt import losses_of

    generator = torch.Generator().manual_seed(settings["seed"])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    piece = torch.arange(settings["context"] + 1)
    model.train()
    for _ in range(settings["local_steps"]):
        starts = torch.randint(
            len(tokens) - settings["context"], (settings["batch_size"], 1), generator=generator
        )
        pieces = tokens[starts + piece]
        optimizer.zero_grad()
        losses_of(model, pieces[:, :-1], pieces[:, 1:]).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def main() -> None:
    """Train and print one line a round."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description=__doc__)
    parser.add_argument("--optimizer", default="kept", choices=OPTIMIZERS)
    parser.add_argument("--contributors", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rate", type=float, help="learning rate (default: the task's; sgd: 0.3)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = TextTask()
    training = {**task.training, **({"learning_rate": given.rate} if given.rate else {})}
    model = task.model()
    shares = [task.load(one, given.contributors, 0) for one in range(given.contributors)]
    memories: list[dict[str, Any]] = [{} for _ in shares]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for number in range(1, given.rounds + 1):
        total = {name: value * 0 for name, value in weights.items()}
        began = time.process_time()
        for one, data in enumerate(shares):
            model.load_state_dict(weights)
            settings = {**training, "round": number, "seed": 1000 * given.seed + 10 * number + one}
            if given.optimizer == "sgd":
                sgd(model, data.labels, settings, given.rate or 0.3)
            else:
                task.train(model, data, settings, memories[one] if given.optimizer == "kept" else {})
            for name, value in model.state_dict().items():
                total[name] += value / len(shares)
        seconds = (time.process_time() - began) / len(shares)
        weights = total
        model.load_state_dict(weights)
        measured = task.evaluate(model)
        text = " ".join(task.generate(model, "", tokens=60, temperature=0.8, seed=number).split())
        print(
            f"round {number}: loss {measured['loss']:.3f}, perplexity {measured['perplexity']:.1f}, training loss "
            f"{measured['training_loss']:.3f}, {seconds:.1f} s of processor time a contributor. It writes: {text}",
            flush=True,
        )


if __name__ == "__main__":
    main()
