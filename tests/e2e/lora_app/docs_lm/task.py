# SPDX-License-Identifier: Apache-2.0
"""Base model, adapters, text and training."""

import importlib
import inspect
import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

MODULES = (
    *("argparse", "ast", "asyncio.tasks", "bisect", "calendar", "collections", "configparser", "contextlib"),
    *(
        "csv",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "gettext",
        "heapq",
        "inspect",
    ),
    *(
        "ipaddress",
        "json",
        "logging",
        "mailbox",
        "math",
        "operator",
        "os",
        "pathlib",
        "pickletools",
        "random",
    ),
    *("shutil", "statistics", "string", "subprocess", "tarfile", "textwrap", "threading", "zipfile"),
)
ALPHABET = "\n abcdefghijklmnopqrstuvwxyz0.,:;'\"()[]{}<>=+-*/_#`"
CONTEXT = 48


class LoRALinear(nn.Module):
    """A frozen linear layer and a low-rank change of it: W x + b + (alpha / rank) B A x."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x):
        """Return [..., out_features]."""
        return self.base(x) + self.scale * (x @ self.lora_A.T @ self.lora_B.T)


class Block(nn.Module):
    """Causal attention and a feed-forward net, each after a layer norm."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.o_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.up_proj, self.down_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        """Return [batch, length, width]."""
        batch, length, width = x.shape
        h = self.norm1(x)
        q, k, v = (
            proj(h).view(batch, length, self.heads, -1).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down_proj(nn.functional.gelu(self.up_proj(self.norm2(x))))


class LanguageModel(nn.Module):
    """A transformer that predicts the next character."""

    def __init__(self, width=32, layers=2, heads=4):
        super().__init__()
        self.embed = nn.Embedding(len(ALPHABET), width)
        self.position = nn.Embedding(CONTEXT, width)
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, len(ALPHABET))

    def forward(self, tokens):
        """Return logits, [batch, length, characters]."""
        x = self.embed(tokens) + self.position.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def get_model(rank, alpha):
    """Load the frozen base model, and put new adapters into it."""
    with torch.random.fork_rng():
        torch.manual_seed(42)  # in the place of a download: everybody has the same base
        model = LanguageModel()
    model.requires_grad_(False)
    for layer in model.layers:
        for name in ("q_proj", "v_proj", "up_proj", "down_proj"):
            setattr(layer, name, LoRALinear(getattr(layer, name), rank, alpha))
    model.lm_head = LoRALinear(model.lm_head, rank, alpha)
    return model


def get_adapters(model):
    """Return the state dict of the adapters alone."""
    return {name: value for name, value in model.state_dict().items() if "lora_" in name}


def set_adapters(model, adapters):
    """Put adapters into a model."""
    unexpected = model.load_state_dict(adapters, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"not in the model: {unexpected}")


def documents():
    """Return the docstrings of modules that come with Python, in a fixed order."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for part, value in [("", module), *sorted(vars(module).items())]:
            if part.startswith("_") or not (
                value is module or inspect.isclass(value) or inspect.isroutine(value)
            ):
                continue
            text = inspect.getdoc(value) or ""
            if len(text) > CONTEXT:
                found.setdefault(text, f"{name}.{part}")
    return sorted(found, key=found.get)


def encode(texts):
    """Return the characters' numbers, [n, context + 1]; what is not in the alphabet is left out."""
    numbers = {character: number for number, character in enumerate(ALPHABET)}
    text = "\n\n".join(texts).lower()
    flat = torch.tensor([numbers[c] for c in text if c in numbers])
    return flat[: len(flat) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)


def load_data(partition_id, num_partitions):
    """Return one partition's sequences: training and validation."""
    texts = [text for number, text in enumerate(documents()) if number % 10]
    data = encode(texts[partition_id::num_partitions])
    cut = int(0.9 * len(data))
    return data[:cut], data[cut:]


def load_test_set():
    """Return the common test set: documents that nobody trains on."""
    return encode(documents()[::10])


def cosine_annealing(current_round, total_rounds, lr_max, lr_min):
    """Return a round's learning rate."""
    return lr_min + 0.5 * (lr_max - lr_min) * (1 + math.cos(math.pi * current_round / total_rounds))


def loss_of(model, batch):
    """Return the mean loss a character."""
    logits = model(batch[:, :-1])
    return cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def train(model, data, steps, batch_size, lr, factors):
    """Train these factors of the adapters in place; return the mean loss."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith(tuple(f"lora_{factor}" for factor in factors)))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.01)
    model.train()
    total = 0.0
    for _ in range(steps):
        loss = loss_of(model, data[torch.randint(len(data), (batch_size,))])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        total += loss.item()
    return total / steps


def test(model, data):
    """Return the mean loss a character."""
    model.eval()
    with torch.no_grad():
        return sum(loss_of(model, batch).item() * len(batch) for batch in data.split(256)) / len(data)
