// The latest requests that were refused or have failed, and why: `explain` of the key and the model, as they are now.

import { ask, held } from "../gateway.js";
import { limitsNow } from "../levels.js";
import { button, fill, make } from "../elements.js";
import { table } from "../tables.js";
import { lately, number, price, seconds, t } from "../texts.js";
import { dialog } from "./dialog.js";

export async function show(place, signal) {
  const result = make("div");
  const load = () => fill(result, t("loading"), () => refusals(signal));
  place.append(make("h1", { tabindex: "-1" }, t("view_refusals")), make("p", { class: "lead" }, t("refusals_lead")),
    button(t("reload"), load), result);
  await load();
}

async function refusals(signal) {
  const { data, workers } = await ask("admin/refusals", held.admin, { signal });
  return [
    make("p", { class: "hint" }, t("refusals_count", { count: number(data.length), workers: number(workers) })),
    table(t("view_refusals"), [
      { title: t("when"), cell: (each) => lately(each.at) },
      { title: t("key"), name: true, cell: (each) => each.key_id ?? t("none") },
      { title: t("model"), name: true, cell: (each) => each.model ?? "–" },
      { title: t("status"), number: true, cell: (each) => String(each.status) },
      { title: t("why"), name: true, cell: why },
      { title: t("request"), name: true, cell: (each) => make("code", { class: "id" }, each.request_id) },
      { title: t("explain"), cell: (each) => (each.key_id && each.model ? button(t("explain"), () => explain(each, signal)) : "–") },
    ], data, t("no_refusals")),
  ];
}

function why(each) {
  const names = [each.code, each.param].filter(Boolean).join(" · ");
  return [make("strong", {}, each.error_type), names ? ` ${names}` : "", each.message ? make("span", { class: "said" }, each.message) : ""];
}

// How a value of a fact is said whose name is one of these; any other is a name or a number.
const SAID = {
  seconds, usd: price,
  measure: (value) => t(`limit_${value}`),
  scope: (value) => t(`applies_to_${value.replaceAll(" ", "_")}`),
  period: (value) => t(`period_${value}`),
  strategy: (value) => t(`strategy_${value}`),
  occasion: (value) => t(`occasion_${value}`),
};

const said = (value, name) => (SAID[name] ? SAID[name](value) : typeof value === "number" ? number(value) : value);

/** The facts of a step in the reader's language; a step without facts quotes an error, which is in English. */
function sentence({ text, facts }) {
  const words = (values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, said(value, name)]));
  return facts.map(({ name, values }) => t(`fact_${name}`, words(values))).join(t("fact_separator")) || text;
}

async function explain({ key_id: key, model }, signal) {
  const query = new URLSearchParams({ key, model });
  const { served, steps, limits } = await ask(`admin/explain?${query}`, held.admin, { signal });
  await dialog(t("explain_title", { key, model }), () => [
    make("p", { class: served ? "good" : "error" }, t(served ? "would_be_served" : "would_be_refused")),
    make("ol", { class: "steps" }, steps.map((each) =>
      make("li", { class: each.ok ? "yes" : "no" }, make("strong", {}, t(`step_${each.step}`)), " ", sentence(each)))),
    limits && make("h3", {}, t("limits_title")), limits && limitsNow(limits),
  ].filter(Boolean).flat());
}
