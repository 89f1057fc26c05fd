// The audit log: who changed which key, when, and what of it.

import { ask, held } from "../gateway.js";
import { button, fill, make } from "../elements.js";
import { table } from "../tables.js";
import { lately, number, t } from "../texts.js";

const MOST = 200;

export async function show(place, signal) {
  const result = make("div");
  const load = () => fill(result, t("loading"), () => changes(signal));
  place.append(make("h1", { tabindex: "-1" }, t("view_changes")), make("p", { class: "lead" }, t("changes_lead")),
    button(t("reload"), load), result);
  await load();
}

async function changes(signal) {
  const { data, has_more: more } = await ask(`admin/audit?limit=${MOST}`, held.admin, { signal });
  return [
    table(t("view_changes"), [
      { title: t("when"), cell: (each) => lately(each.at) },
      { title: t("who"), name: true, cell: (each) => each.actor },
      { title: t("action"), cell: (each) => t(`done_${each.action}`) },
      { title: t("key"), name: true, cell: (each) => each.key_id },
      { title: t("what"), name: true, cell: what },
    ], data, t("no_changes")),
    more && make("p", { class: "hint" }, t("last_changes", { count: number(MOST) })),
  ].filter(Boolean);
}

/** Each word that differs, before and after; when a key was made stands beside it already. */
function what({ before, after }) {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  names.delete("created_at");
  return make("ul", { class: "plain-list" }, [...names].map((name) => {
    const [old, fresh] = [before, after].map((words) => (name === "secrets" ? hints(words?.secrets) : plain(words?.[name])));
    return make("li", {}, make("strong", {}, name), old ? ` ${old} → ${fresh || "–"}` : ` ${fresh}`);
  }));
}

const hints = (secrets) => (secrets ?? []).map(({ hint, not_after: end }) =>
  (end ? t("until", { secret: hint, time: lately(end) }) : hint)).join(", ");

/** A value of a key's policy as people write it; "" for none. */
function plain(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([name, each]) => `${name} ${plain(each)}`).join(", ");
  return String(value);
}
