// What a key may call, how its limits and budget stand, and what it has used.

import { again, ask, HAS_USAGE, held } from "./gateway.js";
import { chart, lastDays } from "./charts.js";
import { limitsNow } from "./levels.js";
import { field, fill, make, section } from "./elements.js";
import { share, table } from "./tables.js";
import { number, t, usd } from "./texts.js";

export async function show(place, signal) {
  const models = make("div"), limits = make("div"), usage = make("div");
  place.append(
    make("h1", { tabindex: "-1" }, t("view_key")),
    section(t("models_title"), models), section(t("limits_title"), limits), section(t("usage_title"), usage));
  const watched = again(10, signal, () => showLimits(limits, signal));
  await Promise.all([
    fill(models, t("loading"), () => modelList(signal)),
    HAS_USAGE ? showUsage(usage, signal) : usage.append(make("p", { class: "hint" }, t("no_ledger"))),
  ]);
  watched.catch(() => {});
}

async function modelList(signal) {
  const { data } = await ask("v1/models", held.key, { signal });
  if (!data.length) return make("p", { class: "hint" }, t("no_models"));
  return make("ul", { class: "chips" }, data.map(({ id }) => make("li", {}, make("code", {}, id))));
}

async function showLimits(place, signal) {
  if (place.childNodes.length) {
    // What is shown stays until the new numbers are there.
    const fresh = make("div");
    await fill(fresh, "", () => limitTables(signal));
    if (!signal.aborted) place.replaceChildren(...fresh.childNodes);
  } else {
    await fill(place, t("loading"), () => limitTables(signal));
  }
}

async function limitTables(signal) {
  return limitsNow(await ask("v1/limits", held.key, { signal }));
}

async function showUsage(place, signal) {
  const result = make("div");
  const days = make("select", {}, [7, 14, 30].map((count) => make("option", { value: count }, t("last_days", { count }))));
  const load = () => fill(result, t("loading"), () => usageOf(Number(days.value), signal));
  days.addEventListener("change", load);
  place.append(field(t("time"), days), result);
  await load();
}

async function usageOf(count, signal) {
  const days = lastDays(count);
  const query = `since=${days[0]}`;
  const [byDay, byModel] = await Promise.all([
    ask(`v1/usage?by=day&${query}`, held.key, { signal }), ask(`v1/usage?by=model&${query}`, held.key, { signal }),
  ]);
  if (!byModel.data.length) return make("p", { class: "hint" }, t("no_usage"));
  return [make("div", { class: "charts" }, usageCharts(days, byDay.data)), usageTable(t("by_model"), t("model"), "requested_model", byModel.data)];
}

/** Cost, tokens and requests of each day, from lines of /v1/usage or /admin/usage by day. */
export function usageCharts(days, lines) {
  const byDay = new Map(lines.map((line) => [line.day, line]));
  const values = (name) => days.map((each) => byDay.get(each)?.[name] ?? 0);
  return [
    chart(t("cost"), days, [{ title: t("cost"), values: values("cost_usd") }], usd),
    chart(t("tokens"), days, [
      { title: t("input_tokens"), values: values("input_tokens") }, { title: t("output_tokens"), values: values("output_tokens") },
    ], number),
    chart(t("requests"), days, [{ title: t("requests"), values: values("requests") }], number),
  ];
}

/** Lines of usage by one column of theirs, the most expensive first; those without a price after them, by requests. */
export function usageTable(caption, title, column, lines) {
  const cost = (line) => line.cost_usd ?? 0;
  const largest = Math.max(...lines.map(cost));
  return table(caption, [
    { title, name: true, cell: (line) => line[column] ?? t("none") },
    { title: t("requests"), number: true, cell: (line) => number(line.requests) },
    { title: t("errors"), number: true, cell: (line) => number(line.errors) },
    { title: t("input_tokens"), number: true, cell: (line) => number(line.input_tokens) },
    { title: t("output_tokens"), number: true, cell: (line) => number(line.output_tokens) },
    { title: t("cost"), number: true, cell: (line) => share(cost(line), largest, usd(line.cost_usd)) },
  ], [...lines].sort((one, other) => cost(other) - cost(one) || other.requests - one.requests), t("no_usage"));
}
