// How the limits and budgets of a key stand.

import { make } from "./elements.js";
import { level, table } from "./tables.js";
import { moment, number, percent, seconds, t, usd } from "./texts.js";

/** Tables of the answer of /v1/limits, or a sentence where there is nothing to show. */
export function limitsNow({ limits, budgets }) {
  if (!limits.length && !budgets.length) return make("p", { class: "hint" }, t("no_limits"));
  return [
    budgets.length > 0 && table(t("budgets"), BUDGET_COLUMNS(), budgets, ""),
    limits.length > 0 && table(t("limits"), LIMIT_COLUMNS(), limits, ""),
  ].filter(Boolean);
}

const whose = (line) => (line.scope === "key" ? t("scope_key") : t(`scope_${line.scope}`, { owner: line.owner }));

const used = (part, whole, text) => {
  const taken = whole > 0 ? part / whole : 1;
  return make("span", { class: "used" }, level(taken, `${text} (${percent(taken)})`), make("span", {}, text));
};

const shadowed = (line) => line.shadow && make("span", { class: "badge" }, t("shadow"));

const LIMIT_COLUMNS = () => [
  { title: t("limit"), cell: (line) => [t(`limit_${line.name}`), line.models ? ` (${line.models.join(", ")})` : "", " ", shadowed(line)] },
  { title: t("whose"), cell: whose },
  { title: t("used_now"), cell: (line) => used(line.used, line.burst, t("of", { used: number(line.used), all: number(line.burst) })) },
  { title: t("remaining"), number: true, cell: (line) => number(line.remaining) },
  { title: t("in_window"), number: true, cell: (line) => (line.window_seconds === null ? "–" : number(line.used_in_window)) },
  { title: t("free_again"), number: true, cell: (line) => (line.reset_seconds ? t("in_time", { time: seconds(line.reset_seconds) }) : "–") },
];

const BUDGET_COLUMNS = () => [
  { title: t("budget"), cell: (line) => [t(`period_${line.period}`), " ", shadowed(line)] },
  { title: t("whose"), cell: whose },
  { title: t("spent"), cell: (line) => used(line.spent_usd, line.limit_usd, t("of", { used: usd(line.spent_usd), all: usd(line.limit_usd) })) },
  { title: t("remaining"), number: true, cell: (line) => usd(line.remaining_usd) },
  { title: t("begins_anew"), number: true, cell: (line) => (line.resets_at ? moment(line.resets_at) : "–") },
];
