// Keys: made, changed, rotated, disabled, revoked, deleted.

import { ask, askWithTag, held } from "../gateway.js";
import { button, copyable, field, fill, form, make } from "../elements.js";
import { table } from "../tables.js";
import { day, moment, number, t, usd } from "../texts.js";
import { dialog } from "./dialog.js";
import { keyFields } from "./key_fields.js";

export async function show(place, signal) {
  const list = make("div"), filter = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  let keys = [];
  const draw = () => list.replaceChildren(keyTable(keys.filter((key) => matches(key, filter.value)), act));
  const load = () => fill(list, t("loading"), async () => {
    keys = (await ask("admin/keys", held.admin, { signal })).data;
    return keyTable(keys.filter((key) => matches(key, filter.value)), act);
  });
  /** What was done to a key is seen at once; what the gateway says against it, in a dialog. */
  async function act(work) {
    try {
      await work();
    } catch (problem) {
      if (problem.name === "AbortError") return;
      await dialog(t("failed"), () => make("p", { class: "error", role: "alert" }, problem.message));
    }
    if (!signal.aborted) await load();
  }
  filter.addEventListener("input", draw);
  place.append(make("h1", { tabindex: "-1" }, t("view_keys")),
    make("div", { class: "buttons" }, button(t("new_key"), () => act(() => makeKey(signal)), { class: "main" })),
    field(t("filter"), filter), list);
  await load();
}

const matches = (key, text) => `${key.id} ${key.team ?? ""} ${key.owner ?? ""} ${key.state}`.toLowerCase().includes(text.trim().toLowerCase());

const path = (key, action = "") => `admin/keys/${encodeURIComponent(key.id)}${action}`;

function keyTable(keys, act) {
  return table(t("view_keys"), [
    { title: t("key"), name: true, cell: (key) => make("strong", {}, key.id) },
    { title: t("state"), cell: (key) => make("span", { class: `badge ${key.state === "live" ? "healthy" : "cooling"}` }, t(`state_${key.state.replaceAll(" ", "_")}`)) },
    { title: t("team"), name: true, cell: (key) => key.team ?? "–" },
    { title: t("models"), name: true, cell: (key) => key.models?.join(", ") ?? t("all_models") },
    { title: t("limits"), cell: (key) => policy(key) },
    { title: t("expires"), cell: expiry },
    { title: t("secrets"), cell: (key) => key.secrets.filter((each) => each.live).map((each) => make("code", { class: "id" }, each.hint, " ")) },
    { title: t("actions"), cell: (key) => actions(key, act) },
  ], keys, t("no_keys"));
}

/** Most keys expire with a day of UTC, and their hour tells nothing. */
function expiry({ expires }) {
  if (!expires) return "–";
  return expires.endsWith("T00:00:00Z") ? day(expires.slice(0, 10), { dateStyle: "medium" }) : moment(expires);
}

function policy(key) {
  const limits = Object.entries(key.limits ?? {}).filter(([, amount]) => typeof amount === "number")
    .map(([name, amount]) => t("limit_line", { amount: number(amount), name: t(`limit_${name}`) }));
  if (key.budget) limits.push(t("budget_line", { usd: usd(key.budget.usd), period: t(`period_${key.budget.period ?? "month"}`) }));
  return limits.join(", ") || "–";
}

function actions(key, act) {
  const named = (name, work, properties = {}) => button(t(name), () => act(work), { "aria-label": `${t(name)}: ${key.id}`, ...properties });
  return make("span", { class: "actions" },
    named("change", () => changeKey(key)),
    named("rotate", () => rotateKey(key)),
    key.disabled ? named("enable", () => ask(path(key, "/disable"), held.admin, { method: "POST", body: { disabled: false } }))
      : named("disable", () => sure("disable", key, () => ask(path(key, "/disable"), held.admin, { method: "POST", body: { disabled: true } }))),
    named("revoke", () => sure("revoke", key, () => ask(path(key, "/revoke"), held.admin, { method: "POST" })), { class: "danger" }),
    named("delete", () => sure("delete", key, () => ask(path(key), held.admin, { method: "DELETE" })), { class: "danger" }));
}

async function makeKey(signal) {
  let made = null;
  const fields = keyFields(null);
  await dialog(t("new_key"), (close) => form(async () => {
    made = await ask("admin/keys", held.admin, { method: "POST", body: fields.values(), signal });
    close();
  }, ...fields.elements, make("button", { type: "submit", class: "main" }, t("make"))));
  if (made) await showSecret(made);
}

/** Sends only what was changed, and with the tag of the key that was shown: a change in between is not overwritten. */
async function changeKey(key) {
  const { value: known, tag } = await askWithTag(path(key), held.admin);
  const fields = keyFields(known);
  await dialog(t("change_title", { id: key.id }), (close) => form(async () => {
    const patch = fields.changes();
    if (Object.keys(patch).length) {
      await ask(path(key), held.admin, { method: "PATCH", body: patch, headers: tag ? { "if-match": tag } : {} });
    }
    close();
  }, ...fields.elements, make("button", { type: "submit", class: "main" }, t("save"))));
}

async function rotateKey(key) {
  let made = null;
  const hours = make("input", { type: "number", min: 0, max: 8784, step: "any", value: 24 });
  await dialog(t("rotate_title", { id: key.id }), (close) => form(async () => {
    made = await ask(path(key, "/rotate"), held.admin, { method: "POST", body: { overlap_seconds: Number(hours.value) * 3600 } });
    close();
  }, field(t("overlap_hours"), hours, t("overlap_hint")), make("button", { type: "submit", class: "main" }, t("rotate"))));
  if (made) await showSecret(made);
}

async function showSecret({ id, secret }) {
  await dialog(t("secret_title", { id }), (close) => [
    make("p", {}, t("secret_once")),
    copyable(secret, { copy: t("copy"), copied: t("copied") }, { class: "copyable secret" }),
    make("button", { type: "button", class: "main", on: { click: close } }, t("secret_kept")),
  ], { stays: true });
}

/** Asks before `work`, which cannot be taken back or shuts somebody out. */
async function sure(name, key, work) {
  let agreed = false;
  await dialog(t(`${name}_title`, { id: key.id }), (close) => [
    make("p", {}, t(`${name}_sure`)),
    make("button", { type: "button", class: "danger", on: { click: () => { agreed = true; close(); } } }, t(name)),
  ]);
  if (agreed) await work();
}
