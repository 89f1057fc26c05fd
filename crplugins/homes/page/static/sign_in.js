// Asks for the key or the admin token that a view needs, tries it, and keeps it in memory.

import { ask, held, Refused } from "./gateway.js";
import { button, field, form, make } from "./elements.js";
import { t } from "./texts.js";

const TRIED_WITH = { key: "v1/models", admin: "admin/deployments" };

/** Whether `what` is held. If not, its form is shown in `place`, and `done` is called when it is. */
export function signedIn(place, what, done) {
  if (held[what]) {
    place.append(make("p", { class: "signed-in" }, t(`signed_in_${what}`, { hint: held[what].slice(-4) }), " ",
      button(t("forget"), () => { held[what] = null; return done({ focus: true }); }, { class: "plain" })));
    return true;
  }
  const input = make("input", { type: "password", autocomplete: "off", spellcheck: "false", autocapitalize: "off", required: true });
  const enter = form(async () => {
    const secret = input.value.trim();
    if (!secret) throw new Error(t(`needed_${what}`));
    if (!/^[\x21-\x7e]+$/.test(secret)) throw new Error(t("not_a_secret"));
    try {
      await ask(TRIED_WITH[what], secret);
    } catch (problem) {
      input.select();
      throw problem instanceof Refused ? new Error(t("refused", { message: problem.message })) : problem;
    }
    held[what] = secret;
    await done({ focus: true });
  }, field(t(`label_${what}`), input, t("kept_in_memory")), make("button", { type: "submit", class: "main" }, t("enter")));
  place.append(make("h1", { tabindex: "-1" }, t(`enter_${what}_title`)), make("p", { class: "lead" }, t(`enter_${what}_lead`)), enter);
  return false;
}
