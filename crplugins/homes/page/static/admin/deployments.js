// How each deployment fares, asked for anew every five seconds.

import { again, ask, held } from "../gateway.js";
import { make } from "../elements.js";
import { table } from "../tables.js";
import { number, t } from "../texts.js";

export async function show(place, signal) {
  const lead = make("p", { class: "lead" }), result = make("div", { "aria-busy": "true" }), error = make("p", { class: "error", role: "alert" });
  place.append(make("h1", { tabindex: "-1" }, t("view_deployments")), lead, error, result);
  again(5, signal, async () => {
    try {
      const { data, workers } = await ask("admin/deployments", held.admin, { signal });
      error.textContent = "";
      lead.textContent = t("deployments_lead", { workers: number(workers) });
      result.replaceChildren(deployments(data));
    } catch (problem) {
      if (problem.name !== "AbortError") error.textContent = problem.message;
    }
    result.removeAttribute("aria-busy");
  });
}

function deployments(lines) {
  return table(t("view_deployments"), [
    { title: t("model"), name: true, cell: (each) => each.model },
    { title: t("deployment"), name: true, cell: (each) => each.deployment },
    { title: t("health"), cell: health },
    { title: t("running"), number: true, cell: (each) => number(each.running) },
    { title: t("cooldowns"), number: true, cell: (each) => number(each.cooldowns) },
  ], lines, t("no_deployments"));
}

/** With several workers in different states each state says of how many it is. */
function health(each) {
  const states = ["healthy", "cooling", "trial"].filter((state) => each[state]);
  return states.map((state) => make("span", { class: `badge ${state}` },
    t(`health_${state}`) + (states.length > 1 ? ` × ${each[state]}` : "")));
}
