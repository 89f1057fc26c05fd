// The teams that keys belong to, and what each has used in the last 30 days.

import { lastDays } from "../charts.js";
import { ask, HAS_USAGE, held } from "../gateway.js";
import { fill, make } from "../elements.js";
import { table } from "../tables.js";
import { number, t, usd } from "../texts.js";

export async function show(place, signal) {
  const result = make("div");
  place.append(make("h1", { tabindex: "-1" }, t("view_teams")), make("p", { class: "lead" }, t("teams_lead")), result);
  await fill(result, t("loading"), () => teams(signal));
}

async function teams(signal) {
  const [keys, usage] = await Promise.all([
    ask("admin/keys", held.admin, { signal }),
    HAS_USAGE ? ask(`admin/usage?by=team&since=${lastDays(30)[0]}`, held.admin, { signal }) : { data: [] },
  ]);
  const found = new Map();
  const line = (team) => {
    if (!found.has(team)) found.set(team, { team, keys: [], usage: null });
    return found.get(team);
  };
  for (const key of keys.data) line(key.team).keys.push(key);
  for (const used of usage.data) line(used.team).usage = used;
  const sorted = [...found.values()].sort((one, other) => (other.usage?.cost_usd ?? 0) - (one.usage?.cost_usd ?? 0));
  return table(t("view_teams"), [
    { title: t("team"), name: true, cell: ({ team }) => team ?? t("none") },
    { title: t("keys"), number: true, cell: ({ keys: own }) => number(own.length) },
    { title: t("live_keys"), number: true, cell: ({ keys: own }) => number(own.filter((key) => key.state === "live").length) },
    { title: t("key_names"), name: true, cell: ({ keys: own }) => names(own) },
    ...(HAS_USAGE ? [
      { title: t("requests"), number: true, cell: ({ usage: used }) => number(used?.requests ?? 0) },
      { title: t("cost"), number: true, cell: ({ usage: used }) => usd(used ? used.cost_usd : 0) },
    ] : []),
  ], sorted, t("no_teams"));
}

function names(keys) {
  const some = keys.slice(0, 5).map((key) => key.id).join(", ");
  return keys.length > 5 ? t("and_more", { some, more: keys.length - 5 }) : some || "–";
}
