// The first view, for everybody: what this is, how to call it, whom to ask for a key.

import { ask, BASE_URL, CONTACT, held } from "./gateway.js";
import { copyable, make, section } from "./elements.js";
import { samples } from "./samples.js";
import { t } from "./texts.js";

export async function show(place, signal) {
  const model = await someModel(signal);
  place.append(
    make("h1", { tabindex: "-1" }, t("start_title")),
    make("p", { class: "lead" }, t("start_lead")),
    section(t("address_title"),
      copyable(BASE_URL, { copy: t("copy"), copied: t("copied") }, { class: "copyable single" }),
      make("p", {}, t("address_hint"))),
    section(t("samples_title"),
      make("p", {}, held.key ? t("samples_with_key") : t("samples_hint")), sampleTabs(model)),
    section(t("contact_title"), make("p", {}, contact())));
}

/** One that the key may call, if there is a key. */
async function someModel(signal) {
  if (!held.key) return "MODEL";
  const { data } = await ask("v1/models", held.key, { signal });
  return data[0]?.id ?? "MODEL";
}

/** Tabs as ARIA's authoring practices have them: arrow keys move among them, Tab goes on to the panel. */
function sampleTabs(model) {
  const all = samples(BASE_URL, model);
  const panel = make("div", { role: "tabpanel", id: "sample", "aria-labelledby": "sample-0" });
  const tabs = all.map((sample, index) =>
    make("button", { type: "button", role: "tab", id: `sample-${index}`, "aria-controls": "sample" }, sample.name));

  function choose(index) {
    tabs.forEach((tab, each) => {
      tab.setAttribute("aria-selected", String(each === index));
      tab.tabIndex = each === index ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", `sample-${index}`);
    const { text, note } = all[index];
    panel.replaceChildren(copyable(text, { copy: t("copy"), copied: t("copied") }), note ? make("p", { class: "hint" }, t(note)) : "");
  }

  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(index));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!step) return;
      const next = (index + step + tabs.length) % tabs.length;
      choose(next);
      tabs[next].focus();
    });
  });
  choose(0);
  return make("div", { class: "tabs" }, make("div", { role: "tablist", "aria-label": t("samples_title") }, tabs), panel);
}

/** A link for an e-mail address or a page, which are no other scheme; else the words as they are. */
function contact() {
  if (!CONTACT) return t("contact_unknown");
  if (/^[^\s@:]+@[^\s@:]+$/.test(CONTACT)) return [t("contact_ask"), " ", make("a", { href: `mailto:${CONTACT}` }, CONTACT)];
  if (/^https?:\/\//i.test(CONTACT)) {
    return [t("contact_ask"), " ", make("a", { href: CONTACT, rel: "noreferrer noopener" }, CONTACT)];
  }
  return [t("contact_ask"), " ", CONTACT];
}
