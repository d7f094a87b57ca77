# SPDX-License-Identifier: Apache-2.0
"""What the comparison measured, in files of one JSON object a line, and the tables and pictures that follow from it.

Measured are: bytes and seconds of an exchange on a line, processor seconds of a step, losses by step. Composed from
these are: the seconds of a step with its share of an exchange, ratios, caps, and losses by the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from folkmoot_lab.simulation import kept

from benchmarks.links.losses import CONTEXT, DDP, DILOCO, FEEDBACK, WORKERS, Curve, Plan
from benchmarks.links.traffic import CURRENT, FOLKMOOT, SETTINGS, TORCH, WAYS, Exchange
from folkmoot.errors import InputError
from folkmoot.protocol.outer_step import UNIT
from folkmoot.web.intervals import alone
from folkmoot.web.pages import render

FOLDER = Path(__file__).parent / "results"

STEPWISE = ("ddp", "fsdp")
"""Ways that exchange in each step; the others do in each round."""


@dataclass(frozen=True)
class Step:
    """What a worker's step of training costs."""

    model: str
    tokens: int
    """Tokens of the step."""
    seconds: float
    """Processor seconds of one core."""


@dataclass(frozen=True)
class Results:
    """All that was measured; each file is in one folder."""

    folder: Path = FOLDER

    def exchanges(self) -> dict[tuple[str, str, str], Exchange]:
        """The newest exchange by model, setting and way."""
        made = kept.read(self.folder / "lines.jsonl", lambda value: Exchange(**value))
        return {(one.model, one.setting, one.way): one for one in made}

    def curves(self) -> list[Curve]:
        """Losses."""

        def curve(value: Any) -> Curve:
            return Curve(Plan(**value.pop("plan")), **value)

        return kept.read(self.folder / "losses.jsonl", curve)

    def steps(self) -> dict[str, Step]:
        """The newest step by model."""
        return {one.model: one for one in kept.read(self.folder / "steps.jsonl", lambda value: Step(**value))}

    def add(self, one: Exchange | Curve | Step) -> None:
        """Add a measurement to its file."""
        name = {Exchange: "lines", Curve: "losses", Step: "steps"}[type(one)]
        value = one.to_json() if isinstance(one, Exchange) else asdict(one)
        path = self.folder / f"{name}.jsonl"
        kept.prepare(path)
        kept.add(path, value)


def per_step(one: Exchange, value: float, local_steps: int) -> float:
    """Return a step's share of a value of an exchange."""
    return value if one.way in STEPWISE else value / local_steps


def line_seconds(one: Exchange) -> float:
    """Return the seconds that the bytes of an exchange need on its lines, if nothing else takes time.

    torch's ways send and receive at the same time. Folkmoot's contributors get the base before they send; all of them
    share the coordinator's line.
    """
    setting = SETTINGS[one.setting]
    down, up = 8e-6 * one.down, 8e-6 * one.up
    if one.way in TORCH:
        return max(down / setting.line.down, up / setting.line.up)
    return max(down / setting.line.down, WORKERS * down / setting.coordinator.up) + max(
        up / setting.line.up, WORKERS * up / setting.coordinator.down
    )


def markdown(rows: Iterable[Sequence[str]], head: Sequence[str], words: int = 1) -> str:
    """Return a table in Markdown; the first columns are words, the others numbers."""
    rule = ["---" if place < words else "---:" for place in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def traffic_table(results: Results, model: str, local_steps: int, compute: float) -> str:
    """Return the table of a model: bytes and seconds measured, seconds a step and ratios composed.

    Args:
        results: The results.
        model: Name of the model.
        local_steps: Steps of a round.
        compute: Seconds of computing a step.
    """
    found = results.exchanges()
    rows = []
    for setting in dict.fromkeys(place[1] for place in found if place[0] == model):
        ddp = _on(found, model, setting, "ddp")
        for way in WAYS:
            one = found.get((model, setting, way))
            if one is None:
                continue
            step = compute + per_step(one, one.round, local_steps)
            # With eager start, computing goes on in the exchange; the slower of both decides.
            eager = max(compute, one.round / local_steps) if one.way in CURRENT else None
            alone_step = compute + per_step(one, line_seconds(one), local_steps)
            bytes_a_step = per_step(one, one.down + one.up, local_steps)
            ratios = ("-",) * 5
            if ddp is not None:
                ratios = (
                    f"{(ddp.down + ddp.up) / bytes_a_step:,.1f}",
                    f"{(compute + ddp.seconds) / step:,.1f}",
                    f"{(compute + line_seconds(ddp)) / alone_step:,.1f}",
                    "-" if eager is None else f"{(compute + ddp.seconds) / eager:,.1f}",
                    f"{1 + ddp.seconds / compute:,.1f}",
                )
            rows.append(
                (
                    setting,
                    way,
                    f"{one.down / one.parameters:.2f}",
                    f"{one.up / one.parameters:.2f}",
                    f"{line_seconds(one):.1f}",
                    f"{one.seconds:.1f}",
                    f"{one.round:.1f}",
                    f"{step:.2f}",
                    *ratios,
                    f"{one.load:.0f}",
                )
            )
    head = (
        "line", "way", "down, bytes a parameter", "up", "line alone, s", "transfers, s", "exchange, s", "a step, s",
        "times fewer bytes than DDP", "times faster", "times faster, line alone", "times faster, eager start",
        "cap", "load",
    )  # fmt: skip
    return markdown(rows, head, 2)


def _groups(results: Results) -> dict[Plan, dict[int, Curve]]:
    """Return the curves by plan, with seed 0 in the place of all seeds, and by seed."""
    groups: dict[Plan, dict[int, Curve]] = {}
    for curve in results.curves():
        groups.setdefault(replace(curve.plan, seed=0), {})[curve.plan.seed] = curve
    return groups


def loss_table(results: Results) -> str:
    """Return the losses at equal tokens: means over seeds, and the difference from DDP and DiLoCo of the same seed."""
    groups = _groups(results)
    rows = []
    for plan, curves in groups.items():
        ends = [curve.losses[-1] for curve in curves.values()]
        bases = replace(plan, way=DDP, shuffled=False), replace(plan, way=DILOCO)
        compared = [_above(curves, groups.get(base, {})) for base in bases]
        numbers = (CONTEXT * plan.pieces, plan.local_steps, plan.local_steps * plan.rounds)
        spread = f"{min(ends):.4f} to {max(ends):.4f}"
        outer = f"{plan.rate / UNIT:.2g}/{plan.momentum / UNIT:.2g}"
        shown = (*(f"{number:,}" for number in numbers), outer, f"{fmean(ends):.4f}", spread)
        texts = "all" if plan.shuffled or plan.way == DDP else "its own"
        rows.append((plan.way, texts, *shown, *compared, str(len(ends))))
    head = (
        "way", "texts of each", "tokens a step", "H", "steps", "outer rate/momentum", "loss", "range", "above DDP, %",
        "above DiLoCo, %", "seeds",
    )  # fmt: skip
    return markdown(rows, head, 2)


def _above(curves: dict[int, Curve], base: dict[int, Curve]) -> str:
    shares = [
        100 * (one.losses[-1] / base[seed].losses[-1] - 1) for seed, one in curves.items() if seed in base
    ]
    return f"{fmean(shares):+.2f}" if shares else "-"


def clock_table(results: Results, model: str, compute: float) -> str:
    """Return the losses of all ways at the moment at which Folkmoot's width 4 ends its last round, by the clock.

    Losses of steps between two measurements are interpolated.
    """
    found = results.exchanges()
    rows = []
    for setting in dict.fromkeys(place[1] for place in found if place[0] == model):
        for plan, curves in _groups(results).items():
            if plan.shuffled:
                continue
            ways = ("width 4", plan.way.removesuffix(FEEDBACK))
            reference, one = (_on(found, model, setting, way) for way in ways)
            if reference is None or one is None:
                continue
            total, own = plan.local_steps * plan.rounds, compute * plan.pieces / Plan.pieces
            seconds = total * (own + per_step(reference, reference.round, plan.local_steps))
            done = min(seconds / (own + per_step(one, one.round, plan.local_steps)), total)
            loss = fmean(at_step(curve, done) for curve in curves.values())
            numbers = (f"{CONTEXT * plan.pieces:,}", f"{seconds:,.0f}", f"{done:,.1f}", f"{loss:.3f}")
            rows.append((setting, plan.way, *numbers, str(len(curves))))
    return markdown(rows, ("line", "way", "tokens a step", "seconds", "steps by then", "loss", "seeds"), 2)


def _on(
    found: Mapping[tuple[str, str, str], Exchange], model: str, setting: str, way: str
) -> Exchange | None:
    """Return an exchange on a line. The coordinator's line changes nothing for ways without a coordinator."""
    return found.get((model, setting, way)) or (
        found.get((model, setting.partition("-")[0], way)) if way in TORCH else None
    )


def at_step(curve: Curve, step: float) -> float:
    """Return the loss after a number of steps, interpolated; after the last one, that of the last."""
    place = min(step / curve.plan.local_steps, len(curve.losses) - 1)
    first = min(math.floor(place), len(curve.losses) - 2)
    before, after = curve.losses[first : first + 2]
    return before + (place - first) * (after - before)


_ROW, _LEFT, _WIDTH = 22, 210, 620


def picture(results: Results, model: str, local_steps: int) -> bytes:
    """Draw what communication takes a step, by line and way, on a scale of powers of ten (SVG)."""
    found = results.exchanges()
    rows = [
        (f"{setting}: {way}", per_step(one, one.round, local_steps), way)
        for setting in dict.fromkeys(place[1] for place in found if place[0] == model)
        for way in WAYS
        if (one := found.get((model, setting, way))) is not None
    ]
    if not rows:
        raise InputError(
            f"There are no exchanges of {model}.", remedy="Measure with `python -m benchmarks.links lines`."
        )
    low = math.floor(math.log10(min(value for _, value, _ in rows)))
    high = math.ceil(math.log10(max(value for _, value, _ in rows)))

    def across(value: float) -> float:
        return round(_LEFT + (math.log10(value) - low) / max(high - low, 1) * (_WIDTH - _LEFT - 70), 1)

    bottom = _ROW * len(rows) + 10
    title = f"Seconds of communication a step, {model}, {local_steps} steps a round"
    ways = [
        {
            "name": name,
            "text": f"{value:.3g} s",
            "x": across(value),
            "y": _ROW * place,
            "other": way not in FOLKMOOT,
        }
        for place, (name, value, way) in enumerate(rows)
    ]
    powers = [(across(10.0**power), f"{10.0**power:g}") for power in range(low, high + 1)]
    chart = render(
        "steps.svg",
        Path(__file__).parent,
        title=title,
        left=_LEFT,
        width=_WIDTH,
        bottom=bottom,
        powers=powers,
        ways=ways,
    )
    return alone(chart.decode())
