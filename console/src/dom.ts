// SPDX-License-Identifier: Apache-2.0
// What pages make elements with. Text is always text.

export const $ = (id: string): HTMLElement => document.getElementById(id)!;

export function element(tag: string, text = "", kind = "", ...children: (Node | null)[]): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  made.append(...children.filter((one) => one !== null));
  return made;
}
