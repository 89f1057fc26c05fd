// Begins the page: the language, whether the gateway is up, and which view is shown. A view is named after the # of the
// address and is shown by a module's `show(place, signal)`; `signal` is aborted when another takes its place.

import * as changes from "./admin/changes.js";
import * as deployments from "./admin/deployments.js";
import * as keys from "./admin/keys.js";
import * as live from "./admin/live.js";
import * as refusals from "./admin/refusals.js";
import * as spend from "./admin/spend.js";
import * as teams from "./admin/teams.js";
import { again, HAS_ADMIN, ROOT, VERSION } from "./gateway.js";
import * as account from "./account.js";
import { make } from "./elements.js";
import * as playground from "./playground.js";
import { signedIn } from "./sign_in.js";
import * as start from "./start.js";
import { choose, LANGUAGES, preferred, speak, t } from "./texts.js";

const VIEWS = {
  start: { show: start.show },
  key: { show: account.show, needs: "key" },
  playground: { show: playground.show, needs: "key" },
  spend: { show: spend.show, needs: "admin" },
  keys: { show: keys.show, needs: "admin" },
  teams: { show: teams.show, needs: "admin" },
  live: { show: live.show, needs: "admin" },
  deployments: { show: deployments.show, needs: "admin" },
  refusals: { show: refusals.show, needs: "admin" },
  changes: { show: changes.show, needs: "admin" },
};

const main = document.getElementById("main");
let shown = new AbortController();

const named = () => {
  const name = location.hash.slice(1);
  return name in VIEWS && (HAS_ADMIN || VIEWS[name].needs !== "admin") ? name : "start";
};

/** Shows the view that the address names. `focus`: a reader who has chosen it reads on at its beginning. */
async function show({ focus = false } = {}) {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const name = named();
  showLinks(name);
  document.title = `${t(`view_${name}`)} · ${t("title")}`;
  const place = make("div", { class: "view" });
  main.replaceChildren(place);
  const view = VIEWS[name];
  if (!view.needs || signedIn(place, view.needs, show)) {
    try {
      await view.show(place, signal);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      place.append(make("p", { class: "error", role: "alert" }, problem.message));
    }
  }
  if (focus && !signal.aborted) (place.querySelector("h1") ?? main).focus();
}

function showLinks(current) {
  const link = (name) => make("a", { href: `#${name}`, "aria-current": name === current ? "page" : null }, t(`view_${name}`));
  const links = (needs) => Object.keys(VIEWS).filter((name) => VIEWS[name].needs === needs).map(link);
  const group = (label, found) => make("span", { class: "group", role: "group", "aria-label": label }, found);
  document.getElementById("views").replaceChildren(
    group(t("views_all"), links(undefined)), group(t("views_key"), links("key")),
    ...(HAS_ADMIN ? [group(t("views_admin"), links("admin"))] : []));
}

/** What /readyz says, asked anew twice a minute. */
async function showStatus() {
  const place = document.getElementById("status");
  let state = "down";
  try {
    const answer = await fetch(new URL("readyz", ROOT), { cache: "no-store" });
    state = (await answer.json()).status ?? "down";
  } catch {
    // It does not answer at all.
  }
  const known = ["ok", "starting", "stopping"].includes(state) ? state : "down";
  if (place.dataset.state === known && place.textContent === t(`state_${known}`)) return; // nothing to read out
  place.dataset.state = known;
  place.textContent = t(`state_${known}`);
}

async function begin(language) {
  await speak(language);
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  document.getElementById("views").setAttribute("aria-label", t("views"));
  document.getElementById("version").textContent = `crplugins ${VERSION}`;
  await Promise.all([show(), showStatus()]);
}

// A link to #main would name a view of that name.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

const languages = document.getElementById("language");
languages.append(...Object.entries(LANGUAGES).map(([code, name]) => make("option", { value: code, lang: code }, name)));
languages.value = preferred();
languages.addEventListener("change", () => {
  choose(languages.value);
  begin(languages.value);
});
window.addEventListener("hashchange", () => show({ focus: true }));
await begin(languages.value);
again(30, new AbortController().signal, showStatus);
