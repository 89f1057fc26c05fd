// The fields of a key's policy, in the words of the admin API.

import { field, make } from "../elements.js";
import { t } from "../texts.js";

const LIMITS = ["requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day", "max_parallel_requests"];
const PERIODS = ["day", "week", "month", "total"];

/**
 * Inputs for a new key (`known` null) or for one as the API shows it. `values()` is the body of a new key, `changes()`
 * the merge patch of what differs from `known`. What has no field here stays as it is.
 */
export function keyFields(known) {
  const text = (value, properties = {}) => make("input", { type: "text", autocomplete: "off", spellcheck: "false", value: value ?? "", ...properties });
  const whole = (value) => make("input", { type: "number", min: 1, step: 1, value: value ?? "" });
  const id = text("", { required: true });
  const team = text(known?.team), owner = text(known?.owner), models = text(known?.models?.join(", "));
  const expires = make("input", { type: "date", value: known?.expires?.slice(0, 10) ?? "" });
  const limits = Object.fromEntries(LIMITS.map((name) => [name, whole(known?.limits?.[name])]));
  const dollars = make("input", { type: "number", min: 0, step: "any", value: known?.budget?.usd ?? "" });
  const period = make("select", {}, PERIODS.map((name) =>
    make("option", { value: name, selected: name === (known?.budget?.period ?? "month") }, t(`period_${name}`))));

  const elements = [
    !known && field(t("key_id"), id, t("key_id_hint")),
    field(t("team"), team), field(t("owner"), owner),
    field(t("models"), models, t("models_hint")),
    make("fieldset", {}, make("legend", {}, t("limits")), ...LIMITS.map((name) => field(t(`limit_${name}`), limits[name]))),
    make("fieldset", {}, make("legend", {}, t("budget")), field(t("dollars"), dollars), field(t("period"), period)),
    field(t("expires"), expires, t("expires_hint")),
  ].filter(Boolean);

  /** Every word, null where nothing is written. */
  function written() {
    return {
      team: team.value.trim() || null,
      owner: owner.value.trim() || null,
      models: listed(models.value),
      limits: Object.fromEntries(LIMITS.map((name) => [name, limits[name].value === "" ? null : Number(limits[name].value)])),
      budget: dollars.value === "" ? null : { usd: Number(dollars.value), period: period.value },
      expires: expires.value || null,
    };
  }

  const before = known && written();

  return {
    elements,
    values() {
      const words = written();
      const own = Object.fromEntries(Object.entries(words.limits).filter(([, amount]) => amount !== null));
      const body = { id: id.value.trim(), ...words, limits: Object.keys(own).length ? own : null };
      return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
    },
    changes() {
      const words = written(), patch = {};
      for (const [name, value] of Object.entries(words)) {
        if (name === "limits") {
          const changed = Object.entries(value).filter(([limit, amount]) => amount !== before.limits[limit]);
          if (changed.length) patch.limits = Object.fromEntries(changed);
        } else if (JSON.stringify(value) !== JSON.stringify(before[name])) {
          patch[name] = value;
        }
      }
      return patch;
    },
  };
}

function listed(text) {
  const names = text.split(",").map((name) => name.trim()).filter(Boolean);
  return names.length ? names : null;
}
