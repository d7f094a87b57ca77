// SPDX-License-Identifier: Apache-2.0
// The page of votes: what the coordinator lists, what the wallet's node says of it, and the acts of a voter.
import { type Address, type EIP1193Provider, getAddress, isAddress, parseUnits } from "viem";
import { $, element } from "../dom.js";
import { GOVERNOR, REWARDS, VAULT } from "./contracts.js";
import {
  type Deployment, Failure, OPEN, type Proposal, type Standing, activated, asked, described, descriptionHash, evidence, isWhole, listed,
} from "./proposals.js";
import { type Call, Chain, type Holding, type Wallet, discover, why } from "./wallet.js";
import { LANGUAGES, type Words, amount, duration, moment, visible } from "./words.js";

const EVERY = 12_000;
const MOST = 50;
const kept = (name: string): string | null => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // a browser that keeps nothing
  }
};
const keep = (name: string, value: string | null): void => {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // as above
  }
};

/** Whether a proposal is the one of its number: as the coordinator shows it, as the wallet's node has it, or not at all;
 *  or the node has none of this number. */
type Origin = "whole" | "replaced" | "left out" | "other" | "absent";

interface Shown {
  proposal: Proposal;
  standing: Standing;
  origin: Origin;
}

let words: Words = LANGUAGES[kept("language") ?? (navigator.languages.some((one) => one.startsWith("fr")) && !navigator.language.startsWith("en") ? "fr" : "en")] ?? LANGUAGES.en!;
let deployment: Deployment | null = null;
let chain: Chain | null = null;
let shown: Shown[] = [];
let leftOut = 0;
let holding: Holding | null = null;
let now = Date.now() / 1000;
let elsewhere: number | null = null;
let failure = "";
const wallets: Wallet[] = [];
let wallet: Wallet | null = null;
const proofs = new Map<string, string[]>();
/** The line under the buttons of a proposal, or of the account: it stays while the page is drawn again. */
const lines = new Map<string, string>();
let busy = false;

const button = (text: string, act: () => void, enabled = true): HTMLButtonElement => {
  const made = element("button", text) as HTMLButtonElement;
  made.type = "button";
  made.disabled = !enabled || busy;
  made.addEventListener("click", act);
  return made;
};
const short = (account: string): string => `${account.slice(0, 8)}…${account.slice(-4)}`;
const when = (time: number): [string, string] => [moment(time, words), time > now ? words.left(duration(time - Math.floor(now), words)) : ""];

/** Do something with the wallet, with its steps in a line, and read everything again. */
async function act(key: string, calls: () => Call[] | Promise<Call[]>): Promise<void> {
  if (busy || !chain) return;
  busy = true;
  const say = (text: string): void => {
    lines.set(key, text);
    draw();
  };
  try {
    await chain.send(await calls(), words, say);
  } catch (error) {
    say(why(error, words));
  }
  busy = false;
  await refresh(key);
}

// --- what is read

async function proposals(): Promise<Shown[]> {
  const found = new Map((await listed(words, MOST)).map(([proposal, standing]) => [proposal.id, { proposal, standing, origin: isWhole(proposal) ? "whole" : "other" } as Shown]));
  const onChain = chain && (await chain.proposals());
  leftOut = 0;
  for (const proposal of [...(onChain ?? [])].reverse().slice(0, MOST)) {
    const listedOne = found.get(proposal.id);
    if (listedOne?.origin === "whole") continue;
    leftOut += listedOne ? 0 : 1;
    found.set(proposal.id, { proposal, standing: listedOne?.standing ?? ({} as Standing), origin: listedOne ? "replaced" : "left out" });
  }
  const all = [...found.values()];
  if (chain) {
    const here = chain;
    await Promise.all(
      all.map(async (one) => {
        const standing = await here.standing(one.proposal.id);
        if (standing) one.standing = standing;
        else one.origin = "absent";
      }),
    );
    all.sort((one, other) => other.standing.start - one.standing.start);
  }
  return all;
}

let reading = false;
/** Read everything again. What was said of a proposal that has moved on meanwhile is over, but for one's own act. */
async function refresh(own = ""): Promise<void> {
  if (reading) return;
  reading = true;
  try {
    deployment ??= (await asked("v1/deployment", words)) as Deployment | null;
    if (!deployment || !isAddress(String(deployment.governor))) throw new Failure(words.notJson);
    now = chain ? await chain.now() : Date.now() / 1000;
    const before = new Map(shown.map(({ proposal, standing }) => [proposal.id, standing]));
    shown = await proposals();
    for (const { proposal, standing } of shown) {
      const earlier = before.get(proposal.id);
      const same = earlier?.state === standing.state && earlier.voted === standing.voted;
      if (!same && String(proposal.id) !== own) lines.delete(String(proposal.id));
    }
    holding = chain ? await chain.holding() : null;
    failure = "";
    const place = deployment;
    for (const { proposal } of shown) {
      const version = activated(place, proposal);
      const key = String(proposal.id);
      if (version && !proofs.has(key)) proofs.set(key, await evidence(...version, words));
    }
  } catch (error) {
    failure = why(error, words);
  }
  reading = false;
  draw();
}

// --- wallets

async function connect(chosen: Wallet, method: "eth_requestAccounts" | "eth_accounts"): Promise<void> {
  try {
    const [account] = (await chosen.provider.request({ method })) as Address[];
    if (!account || !deployment) return;
    const id = Number(await chosen.provider.request({ method: "eth_chainId" }));
    [wallet, elsewhere, chain, holding] = [chosen, id === deployment.chainId ? null : id, null, null];
    if (elsewhere === null) chain = new Chain(chosen.provider, deployment, getAddress(account));
    keep("wallet", chosen.rdns);
    keep(place(), deployment.governor);
    lines.delete("wallet");
    await refresh();
  } catch (error) {
    lines.set("wallet", why(error, words));
    draw();
  }
}

async function switchChain(): Promise<void> {
  if (!wallet || !deployment) return;
  try {
    await wallet.provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId: `0x${deployment.chainId.toString(16)}` }] });
    await connect(wallet, "eth_accounts");
  } catch (error) {
    const unknown = (error as { code?: number }).code === 4902;
    lines.set("wallet", unknown ? words.chainUnknown(deployment.chainId) : why(error, words));
    draw();
  }
}

function forget(): void {
  [wallet, chain, elsewhere, holding] = [null, null, null, null];
  keep("wallet", null);
  void refresh();
}

const place = (): string => `governor ${deployment?.chainId}`;

function added(found: Wallet): void {
  if (wallets.some((one) => one.provider === found.provider)) return;
  wallets.push(found);
  const again = (): void => {
    if (wallet === found) void connect(found, "eth_accounts");
  };
  for (const name of ["accountsChanged", "chainChanged"] as const) found.provider.on?.(name, again);
  if (deployment && kept("wallet") === found.rdns && !wallet) void connect(found, "eth_accounts");
  draw();
}

// --- what is drawn

function drawn(): Node[] {
  if (!deployment) return [];
  const before = kept(place());
  const box = element("div", "", "box");
  if (chain) {
    const said = words.account(short(chain.account), holding ? amount(holding.votes, words) : "…");
    box.append(element("p", said, "strong"), element("p", words.read, "soft"), button(words.forget, forget));
  } else if (wallet && elsewhere !== null) {
    box.append(element("p", words.chain(elsewhere, deployment.chainId), "warn"), button(words.switchTo, () => void switchChain()), button(words.forget, forget));
  } else if (wallets.length) {
    box.append(element("p", words.unread), ...wallets.map((one) => button(words.connect(visible(one.name)), () => void connect(one, "eth_requestAccounts"))));
  } else {
    box.append(element("p", words.noWallet));
  }
  box.append(line("wallet"), element("p", (deployment.own ? words.own : words.compare)(deployment.governor, deployment.chainId), "soft small"));
  const moved = before && before.toLowerCase() !== deployment.governor.toLowerCase();
  return [...(moved ? [element("p", words.moved(before), "notice bad")] : []), box];
}

function line(key: string): HTMLElement {
  const made = element("p", lines.get(key) ?? "", "line");
  made.setAttribute("role", "status");
  return made;
}

function tally({ for: yes, against, abstain, quorum }: Standing): HTMLElement {
  const whole = yes + against + abstain;
  const rows = ([["for", yes], ["against", against], ["abstain", abstain]] as const).map(([name, votes]) => {
    const bar = element("meter") as HTMLMeterElement;
    bar.value = whole ? Number((votes * 10_000n) / whole) / 10_000 : 0;
    bar.setAttribute("aria-hidden", "true");
    return element("tr", "", name, element("th", words.tally[name]), element("td", "", "", bar), element("td", amount(votes, words), "number"));
  });
  const reached = yes + abstain >= quorum;
  const sentence = `${reached ? "✓ " : ""}${words.quorum(amount(yes + abstain, words), amount(quorum, words))}`;
  return element("div", "", "tally", element("table", "", "", element("tbody", "", "", ...rows)), element("p", sentence, "soft"));
}

function acts({ proposal, standing, origin }: Shown): Node[] {
  const here = chain;
  if (!here || origin === "other" || origin === "absent" || !deployment) return [];
  const [key, governor] = [String(proposal.id), deployment.governor];
  const call = (functionName: string, ...args: unknown[]): Call => ({ address: governor, abi: GOVERNOR, functionName, args });
  const lists = [proposal.targets, proposal.values, proposal.calldatas, descriptionHash(proposal)];
  const carried = (name: "queue" | "execute", ready: boolean): Node[] => [button(words[name], () => void act(key, () => [call(name, ...lists)]), ready), line(key)];
  if (standing.state === "succeeded") return carried("queue", isWhole(proposal));
  if (standing.state === "queued") return carried("execute", isWhole(proposal) && now >= standing.eta);
  if (standing.voted) return [element("p", words.voted, "good"), line(key)];
  if (standing.state !== "active") return [line(key)];
  if (!standing.mine) return [element("p", words.noVotes, "soft")];
  const reason = element("input") as HTMLInputElement;
  reason.id = `reason-${key}`;
  const label = element("label", words.reason) as HTMLLabelElement;
  label.htmlFor = reason.id;
  const cast = (support: number) => (): void =>
    void act(key, () => (reason.value.trim() ? [call("castVoteWithReason", proposal.id, support, reason.value.trim())] : [call("castVote", proposal.id, support)]));
  const choices = ([["for", 1], ["against", 0], ["abstain", 2]] as const).map(([name, support]) => button(words.vote[name], cast(support)));
  return [element("p", words.mine(amount(standing.mine, words))), label, reason, element("div", "", "acts", ...choices), line(key)];
}

function card(one: Shown): HTMLElement {
  const { proposal, standing, origin } = one;
  const text = visible(proposal.description.split("#proposer=")[0]!.trim());
  const [title, ...rest] = text.split("\n");
  const made = element("article", "", `box ${standing.state}`);
  made.id = `p${proposal.id}`;
  const chip = element("span", words.state[standing.state] ?? standing.state, "chip");
  made.append(element("h2", "", "", element("span", title || "–"), chip));
  if (rest.join("").trim()) made.append(element("p", rest.join("\n").trim(), "lines"));
  if (origin === "other") made.append(element("p", words.notWhole, "notice bad"));
  if (origin === "absent") made.append(element("p", words.absent, "notice bad"));
  if (origin === "replaced") made.append(element("p", words.replaced, "notice bad"));
  const calls = proposal.targets.map((_, place) => described(deployment!, proposal, place, words));
  const doing = words.doing[OPEN.includes(standing.state) ? "open" : standing.state === "executed" ? "executed" : "over"];
  made.append(element("p", doing, "strong"), element("ul", "", "", ...calls.map(({ text, known }) => element("li", visible(text), known ? "" : "warn"))));
  if (calls.some(({ known }) => !known)) made.append(element("p", words.unknownCall, "warn"));
  const [time, left] = when(standing.state === "pending" ? standing.start : standing.state === "queued" ? standing.eta : standing.end);
  const said = words.when[(OPEN.includes(standing.state) ? standing.state : "ended") as keyof Words["when"]];
  const version = activated(deployment!, proposal);
  if (version && OPEN.includes(standing.state)) {
    const link = element("a", words.download) as HTMLAnchorElement;
    link.href = `v1/models/${version[0]}/download`;
    const known = (proofs.get(String(proposal.id)) ?? []).map((one) => element("li", visible(one)));
    made.append(element("p", words.evidence, "strong"), element("ul", "", "", ...known, element("li", "", "", link)));
  }
  made.append(element("p", said(time, left)), tally(standing), ...acts(one));
  const data = proposal.targets.map((target, place) => `${target} ${proposal.values[place]} ${proposal.calldatas[place]}`);
  made.append(element("details", "", "", element("summary", words.wholeText), element("p", words.by(proposal.proposer), "soft"), origin === "whole" ? element("p", `✓ ${words.whole}`, "good") : null,
    element("pre", [visible(proposal.description), "", String(proposal.id), ...data].join("\n"))));
  return made;
}

/** A field with a button: what an account does with its tokens. */
function form(name: "stake" | "unstake" | "delegate", note: string, calls: (text: string) => Call[] | Promise<Call[]>): HTMLElement {
  const input = element("input") as HTMLInputElement;
  input.id = `field-${name}`;
  const label = element("label", name === "delegate" ? words.address : words.tokens) as HTMLLabelElement;
  label.htmlFor = input.id;
  const made = element("form", "", "", element("h3", words[name]), element("p", note, "soft"), label, input, button(words[name], () => void act("account", () => calls(input.value.trim()))));
  made.addEventListener("submit", (event) => event.preventDefault());
  return made;
}

function units(text: string): bigint {
  const plain = text.replace(",", ".");
  if (!/^\d{1,20}(\.\d{1,18})?$/.test(plain) || parseUnits(plain, 18) === 0n) throw new Failure(words.badAmount(text));
  return parseUnits(plain, 18);
}

function account(): Node[] {
  if (!chain || !holding || !deployment) return [];
  const [here, { vault, rewards }] = [chain, deployment];
  const call = (functionName: string, ...args: unknown[]): Call => ({ address: vault, abi: VAULT, functionName, args });
  const facts = [element("p", words.balance(amount(holding.staked, words), amount(holding.free, words)))];
  if (holding.staked && holding.delegate !== here.account) facts.push(element("p", words.delegated(holding.delegate)));
  for (const one of holding.leaving) facts.push(element("p", words.leaving(amount(one.amount, words), moment(one.releaseAt, words))));
  const direct: HTMLElement[] = [];
  if (holding.ready) direct.push(button(words.withdraw(amount(holding.ready, words)), () => void act("account", () => [call("withdraw")])));
  if (holding.claimable) {
    const claim: Call = { address: rewards, abi: REWARDS, functionName: "claim", args: [here.account] };
    direct.push(button(words.claim(amount(holding.claimable, words)), () => void act("account", () => [claim])));
  }
  const forms = [form("stake", words.stakeNote, (text) => here.staking(units(text)))];
  if (holding.staked) {
    forms.push(
      form("unstake", words.unstakeNote(duration(holding.period, words)), (text) => [call("requestUnbond", units(text))]),
      form("delegate", words.delegateNote, (text) => {
        if (!isAddress(text)) throw new Failure(words.badAddress(text));
        return [call("delegate", text)];
      }),
    );
  }
  return [element("h2", words.yours), element("div", "", "box", ...facts, element("div", "", "acts", ...direct), line("account"), element("div", "", "forms", ...forms))];
}

/** Draw everything, and keep what somebody writes, and where. */
function draw(): void {
  const written = [...document.querySelectorAll("input")].map((one) => [one.id, one.value] as const);
  const opened = [...document.querySelectorAll("details[open]")].map((one) => one.parentElement!.id);
  const active = document.activeElement;
  const [focus, at] = [active instanceof HTMLInputElement ? active.id : "", active instanceof HTMLInputElement ? active.selectionStart : 0];
  const pressed = active instanceof HTMLButtonElement ? [active.closest("[id]")?.id, active.textContent] : null;
  document.documentElement.lang = words.language;
  document.title = words.title;
  for (const id of ["title", "about", "footer"] as const) $(id).textContent = words[id];
  $("language").textContent = words.other;
  const list = shown.map(card);
  const notes = [
    ...(failure ? [element("p", failure, "notice bad")] : []),
    ...(leftOut ? [element("p", words.leftOut(leftOut), "notice bad")] : []),
  ];
  $("notices").replaceChildren(...notes);
  $("wallet").replaceChildren(...drawn());
  $("account").replaceChildren(...account());
  $("proposals").replaceChildren(...(list.length || failure || !deployment ? list : [element("p", words.none, "soft")]),
    ...(list.length >= MOST ? [element("p", words.more(MOST), "soft")] : []));
  for (const [id, value] of written) if ($(id)) ($(id) as HTMLInputElement).value = value;
  for (const id of opened) $(id)?.querySelector("details")?.setAttribute("open", "");
  if (focus) {
    $(focus)?.focus();
    ($(focus) as HTMLInputElement | null)?.setSelectionRange(at, at);
  }
  if (pressed?.[0]) [...$(pressed[0])?.querySelectorAll("button") ?? []].find((one) => one.textContent === pressed[1])?.focus();
}

$("language").addEventListener("click", () => {
  words = LANGUAGES[words.language === "fr" ? "en" : "fr"]!;
  keep("language", words.language);
  proofs.clear();
  lines.clear();
  void refresh();
});
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && void refresh());
setInterval(() => !busy && document.visibilityState === "visible" && void refresh(), EVERY);
void refresh().then(() => {
  $(location.hash.slice(1))?.scrollIntoView();
  discover(added);
  const injected = (window as { ethereum?: EIP1193Provider }).ethereum;
  if (injected && !wallets.length) added({ name: "wallet", rdns: "injected", provider: injected });
});
