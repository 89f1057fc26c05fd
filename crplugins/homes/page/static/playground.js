// Asks a model and shows the answer as it comes, with what it took.

import { ask, held, stream } from "./gateway.js";
import { field, form, make } from "./elements.js";
import { number, seconds, t } from "./texts.js";

export async function show(place, signal) {
  const { data } = await ask("v1/models", held.key, { signal });
  const model = make("select", {}, data.map(({ id }) => make("option", { value: id }, id)));
  const other = make("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const system = make("textarea", { rows: 2 });
  const prompt = make("textarea", { rows: 4, required: true });
  const answer = make("div", { class: "answer", role: "region", "aria-label": t("answer"), tabindex: "0" });
  const facts = make("p", { class: "facts", role: "status" });
  const stop = make("button", { type: "button", hidden: true }, t("stop"));
  const ask_ = form((element) => run(element), field(t("model"), data.length ? model : other),
    field(t("system"), system, t("optional")), field(t("prompt"), prompt),
    make("div", { class: "buttons" }, make("button", { type: "submit", class: "main" }, t("send")), stop));
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask_.requestSubmit();
  });
  place.append(make("h1", { tabindex: "-1" }, t("view_playground")), make("p", { class: "lead" }, t("playground_lead")), ask_, answer, facts);

  async function run() {
    if (!prompt.value.trim()) throw new Error(t("prompt_needed"));
    const running = new AbortController();
    const end = () => running.abort();
    signal.addEventListener("abort", end);
    stop.addEventListener("click", end);
    stop.hidden = false;
    answer.replaceChildren();
    facts.textContent = t("waiting");
    const messages = [{ role: "user", content: prompt.value }];
    if (system.value.trim()) messages.unshift({ role: "system", content: system.value });
    const told = { begun: performance.now(), first: null, usage: null, finish: null };
    try {
      for await (const event of stream({ model: data.length ? model.value : other.value.trim(), messages }, held.key, running.signal)) {
        note(event, told, answer);
      }
      facts.textContent = summary(told, told.finish ?? "");
    } catch (problem) {
      facts.textContent = summary(told, problem.name === "AbortError" ? t("stopped") : t("failed"));
      if (problem.requestId) problem.message += ` (${t("request_id", { id: problem.requestId })})`;
      throw problem;
    } finally {
      stop.hidden = true;
      signal.removeEventListener("abort", end);
    }
  }
}

/** Shows what an event adds to the answer. Thoughts of a model are set apart from what it says. */
function note(event, told, answer) {
  const choice = event.choices?.[0];
  const { content, reasoning_content: thought, refusal } = choice?.delta ?? {};
  for (const [text, kind] of [[thought, "thought"], [content ?? refusal, "said"]]) {
    if (typeof text !== "string" || !text) continue;
    told.first ??= performance.now();
    if (answer.lastChild?.className !== kind) answer.append(make("div", { class: kind }));
    answer.lastChild.append(text);
  }
  if (choice?.finish_reason) told.finish = choice.finish_reason;
  if (event.usage) told.usage = event.usage;
}

function summary({ begun, first, usage }, end) {
  const parts = [end];
  if (first !== null) parts.push(t("first_token_after", { time: seconds((first - begun) / 1000) }));
  parts.push(t("in_all", { time: seconds((performance.now() - begun) / 1000) }));
  if (usage) parts.push(t("tokens_used", { input: number(usage.prompt_tokens), output: number(usage.completion_tokens) }));
  return parts.filter(Boolean).join(" · ");
}
