// The gateway's own API, asked as any other client asks it. Keys and tokens live in this module's memory: a reload,
// a closed tab or `forget` is the end of them. They go into headers alone, never into an address.

import { t } from "./texts.js";

/** The address of the gateway, whatever prefix a proxy has put before it: this file lies at `page/gateway.js` below it. */
export const ROOT = new URL("../", import.meta.url);
export const BASE_URL = new URL("v1", ROOT).href;

const facts = document.documentElement.dataset;
export const HAS_USAGE = facts.usage === "yes";
export const HAS_ADMIN = facts.admin === "yes";
export const CONTACT = facts.contact;
export const VERSION = facts.version;

export const held = { key: null, admin: null };

/** A refusal as the gateway said it. */
export class Refused extends Error {
  constructor(status, error, headers) {
    super(error.message);
    Object.assign(this, { status, type: error.type, code: error.code, param: error.param });
    this.requestId = headers.get("x-request-id");
  }
}

/** The answer's JSON. `secret` says who asks. Throws `Refused`, and an Error in the reader's words without an answer. */
export async function ask(path, secret, { method = "GET", body, signal, headers = {} } = {}) {
  const answer = await send(path, secret, { method, body, signal, headers });
  return answer.json();
}

/** As `ask`, with the ETag that tells this state of it from others; null where there is none. */
export async function askWithTag(path, secret, options = {}) {
  const answer = await send(path, secret, options);
  return { value: await answer.json(), tag: answer.headers.get("etag") };
}

async function send(path, secret, { method = "GET", body, signal, headers = {} }) {
  const request = {
    method,
    signal,
    cache: "no-store",
    credentials: "omit",
    referrerPolicy: "no-referrer",
    headers: { ...headers, ...(secret ? { authorization: `Bearer ${secret}` } : {}) },
  };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), request);
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Error(t("no_answer"));
  }
  if (!answer.ok) throw new Refused(answer.status, await errorOf(answer), answer.headers);
  return answer;
}

async function errorOf(answer) {
  try {
    const { error } = await answer.json();
    if (typeof error.message === "string") return error;
  } catch {
    // Not the gateway's: a proxy between answered in its own way.
  }
  return { message: t("answered_with", { status: answer.status }), type: null, code: null, param: null };
}

/** Chat completions as they come: each event's JSON. Throws `Refused`, also for an error in the middle of the stream. */
export async function* stream(body, secret, signal) {
  const answer = await send("v1/chat/completions", secret, {
    method: "POST",
    body: { ...body, stream: true, stream_options: { include_usage: true } },
    signal,
  });
  for await (const data of eventsOf(answer.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refused(answer.status, event.error, answer.headers);
    yield event;
  }
  throw new Error(t("stream_cut"));
}

/** The data of each server-sent event; comments, which keep connections alive, are left out. */
async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  }
}

/** Runs `work` at once and then every so many seconds, until `signal` is aborted; not while nobody looks. */
export async function again(seconds, signal, work) {
  while (!signal.aborted) {
    if (!document.hidden) await work();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
  }
}
