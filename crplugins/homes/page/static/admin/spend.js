// What all keys have used: by day, model, key and team.

import { usageCharts, usageTable } from "../account.js";
import { lastDays } from "../charts.js";
import { ask, HAS_USAGE, held } from "../gateway.js";
import { field, fill, make, section } from "../elements.js";
import { t } from "../texts.js";

const GROUPS = { model: "requested_model", key: "key_id", team: "team" };

export async function show(place, signal) {
  place.append(make("h1", { tabindex: "-1" }, t("view_spend")));
  if (!HAS_USAGE) {
    place.append(make("p", { class: "hint" }, t("no_ledger")));
    return;
  }
  const result = make("div");
  const days = make("select", {}, [1, 7, 30, 90].map((count) =>
    make("option", { value: count, selected: count === 7 }, count === 1 ? t("today") : t("last_days", { count }))));
  const load = () => fill(result, t("loading"), () => spent(Number(days.value), signal));
  days.addEventListener("change", load);
  place.append(field(t("time"), days), result);
  await load();
}

async function spent(count, signal) {
  const days = lastDays(count);
  const get = async (by) => (await ask(`admin/usage?by=${by}&since=${days[0]}`, held.admin, { signal })).data;
  const [byDay, ...groups] = await Promise.all([get("day"), ...Object.keys(GROUPS).map(get)]);
  if (!byDay.length) return make("p", { class: "hint" }, t("no_usage"));
  return [
    make("div", { class: "charts" }, usageCharts(days, byDay)),
    ...Object.entries(GROUPS).map(([name, column], index) =>
      section(t(`by_${name}`), usageTable(t(`by_${name}`), t(name), column, groups[index]))),
  ];
}
