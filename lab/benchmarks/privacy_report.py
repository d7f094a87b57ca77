# SPDX-License-Identifier: Apache-2.0
"""Attack the updates of shipped tasks (`make privacy-report`), the private ones with their own settings.

Writes tables and charts into docs/privacy-report.md.

The tasks run side by side, each in a process with one thread. The attacks are those of `folkmoot privacy report`, with
more trainings for the strong adversary: its interval then is narrow beside the limit.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from folkmoot_lab.leaks import page
from folkmoot_lab.leaks.settings import settings_of
from folkmoot_lab.leaks.study import Plan, Study, records_a_contributor, study

from folkmoot.tasks import load_task
from folkmoot.web.intervals import alone, intervals

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "privacy-report.md"
TASKS = ("breast-cancer-private", "digits-private", "breast-cancer", "digits")
TARGETS, TRIALS = 4, 100
"""Records that the strong adversary asks for, and trainings with each."""
CHART, CHART_PLACE = "strong", 2
"""The one chart of a task, and its place in `page.charts`."""

BEGIN = "<!-- privacy-report: begin. Written by `make privacy-report`; do not edit. -->"
END = "<!-- privacy-report: end -->"


def main() -> int:
    """Run the attacks and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.privacy_report", description=__doc__)
    parser.add_argument("--runs", type=int, default=Plan.runs, help="federations for the membership attack")
    parser.add_argument("--targets", type=int, default=TARGETS, help="records of the strong adversary")
    parser.add_argument("--trials", type=int, default=TRIALS, help="trainings with each of them, and without")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, help="tasks that are attacked")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    options = parser.parse_args()
    plan = Plan(runs=options.runs, targets=options.targets, trials=options.trials, seed=options.seed)
    with ProcessPoolExecutor(len(options.tasks)) as pool:
        studies = list(pool.map(_studied, options.tasks, [plan] * len(options.tasks)))
    options.tasks = " ".join(options.tasks)
    amounts = " ".join(f"--{name} {value}" for name, value in vars(options).items())
    made = page.Made.now(f"make privacy-report ARGS='{amounts}'")
    for one in studies:
        title, rows = page.charts(one)[CHART_PLACE]
        (DOCS / "assets" / _file(one)).write_bytes(alone(intervals(title, rows, page.percent, page.CHANCE)))
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    section = "\n\n".join([_made(made), *map(_section, studies)])
    PAGE.write_text(f"{before}{BEGIN}\n\n{section}\n\n{END}{after}", encoding="utf-8")
    print(f"Wrote {PAGE} and {len(studies)} charts.")
    return 0


def _studied(name: str, plan: Plan) -> Study:
    task = load_task(name)
    return study(
        task,
        settings_of(task.training, plan.rounds, records_a_contributor(task, plan)),
        plan,
        lambda what: print(f"{name}: {what} ...", file=sys.stderr, flush=True),
    )


def _file(one: Study) -> str:
    return f"privacy-{one.task}-{CHART}.svg"


def _made(made: page.Made) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    return f"Made on {made.date} by `{made.command}`\n({versions})."


def _section(one: Study) -> str:
    title, _ = page.charts(one)[CHART_PLACE]
    sizes = ", ".join(map(str, one.records))
    parts = [
        f"### {one.task}",
        f"{one.plan.contributors} contributors with {sizes} records, {one.plan.rounds} rounds.",
        *page.warnings(one),
        page.markdown(page.result_columns(), page.result_rows(one)),
        f"![{title}](assets/{_file(one)})",
    ]
    open_settings = {found.setting.name for found in one.findings if found.setting.limit is None}
    rows = [row for row in page.inversion_rows(one) if row[0] in open_settings]
    if rows:
        parts += [
            f"Inversion {one.method}, by the number of records in an update, without privacy:",
            page.markdown(page.inversion_columns(), rows),
        ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
