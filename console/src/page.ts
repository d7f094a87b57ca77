// SPDX-License-Identifier: Apache-2.0
// The page: takes a file, lets the worker check it, and shows the outcome. Text from the file stays text.
import { $, element } from "./dom.js";
import type { Report } from "./evidence.js";
import { FETCHED, LIMITS, OUTCOME, SIGN } from "./words.js";

/** The worker's script, which the build puts here: the page is one file. */
declare const WORKER: string;

const RESULT = { right: "right", wrong: "wrong", cannot: "cannot be checked", none: "nothing to check", skipped: "not reached" } as const;
const CLASS = { right: "good", wrong: "bad", cannot: "warn", none: "soft", skipped: "soft" } as const;

function outcome(kind: string, title: string, ...paragraphs: HTMLElement[]): void {
  const box = $("outcome");
  box.className = kind;
  box.replaceChildren(element("h2", title), ...paragraphs);
  box.hidden = false;
}

const list = (pairs: [string, string][]): HTMLElement[] =>
  pairs.flatMap(([name, value]) => {
    const cell = element("dd");
    cell.append(element("code", value));
    return [element("dt", name), cell];
  });

function show(name: string, report: Report): void {
  const [title, sentence] = OUTCOME[report.verdict];
  const cause = report.steps.find((one) => one.verdict === report.verdict && one.verdict !== "right");
  const facts = [["File", name], ...report.about].map(([key, value]) => `${key} ${value}`).join(" · ");
  const why = cause ? [element("p", cause.text)] : [];
  outcome(report.verdict, `${SIGN[report.verdict]} ${title}`, element("p", sentence), ...why, element("p", facts, "facts"));
  $("rows").replaceChildren(
    ...report.steps.map((one) => {
      const row = element("tr");
      const step = element("th", one.name);
      step.setAttribute("scope", "row");
      const text = element("td", one.text, "text");
      if (one.expected || one.found) {
        const values = element("dl");
        values.append(...list([["expected", one.expected ?? ""], ["found", one.found ?? ""]]));
        text.append(values);
      }
      row.append(step, element("td", `${SIGN[one.verdict]} ${RESULT[one.verdict]}`, CLASS[one.verdict]), text);
      return row;
    }),
  );
  $("compare").replaceChildren(...list(report.compare));
  for (const id of ["steps", "chain"]) $(id).hidden = id === "chain" && !report.compare.length;
  $("outcome").focus();
}

let worker: Worker | null = null;
let latest = {};

async function take(name: string, read: () => Promise<ArrayBuffer>): Promise<void> {
  worker?.terminate();
  for (const id of ["steps", "chain"]) $(id).hidden = true;
  const turn = (latest = {});
  outcome("", "Reading the evidence ...");
  const failed = (text: string): void => outcome("cannot", `${SIGN.cannot} ${OUTCOME.cannot[0]}`, element("p", text));
  try {
    const data = await read();
    if (turn !== latest) return;
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    const here = (worker = new Worker(url));
    here.onmessage = ({ data: message }: MessageEvent<{ step?: string; report?: Report }>): void => {
      if (here !== worker) return;
      if (message.report) show(name, message.report);
      else if (message.step) outcome("", `Checking: ${message.step} ...`);
    };
    here.onerror = (): void => failed("The browser did not run the check. This says nothing about the round.");
    here.postMessage(data, [data]);
  } catch (error) {
    if (turn === latest) failed(`The evidence can't be read: ${(error as Error).message}`);
  }
}

/** The evidence of a round from the coordinator that serves this page. */
async function fetched(round: string): Promise<ArrayBuffer> {
  const answer = await fetch(`v1/rounds/${round}/evidence`, { headers: { Accept: "application/octet-stream" } });
  if (answer.ok) return answer.arrayBuffer();
  const { detail, remedy } = await answer.json().catch(() => ({}));
  throw new Error(`The coordinator answers ${answer.status}. ${detail ?? ""} ${remedy ?? ""}`);
}

$("limits").replaceChildren(...LIMITS.map((one) => element("li", one)));
const input = $("file") as HTMLInputElement;
input.addEventListener("change", () => {
  const file = input.files?.[0];
  if (file) void take(file.name, () => file.arrayBuffer());
  input.value = "";
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    const file = kind === "drop" ? (event as DragEvent).dataTransfer?.files[0] : null;
    if (file) void take(file.name, () => file.arrayBuffer());
  });
}

const round = location.protocol.startsWith("http") ? /^\?round=(\d{1,18})$/.exec(location.search)?.[1] : undefined;
if (round) {
  $("about").textContent = FETCHED;
  ($("download") as HTMLAnchorElement).href = `v1/rounds/${round}/evidence`;
  $("served").hidden = false;
  void take(`of round ${round}`, () => fetched(round));
}
