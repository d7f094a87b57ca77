// SPDX-License-Identifier: Apache-2.0
// The check in a worker, so that the page goes on answering.
import { check } from "./evidence.js";

addEventListener("message", (event: MessageEvent<ArrayBuffer>) => {
  postMessage({ report: check(new Uint8Array(event.data), (step) => postMessage({ step })) });
});
