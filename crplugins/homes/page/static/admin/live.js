// The requests that run now, asked for anew every two seconds.

import { again, ask, held } from "../gateway.js";
import { make } from "../elements.js";
import { table } from "../tables.js";
import { number, seconds, t } from "../texts.js";

export async function show(place, signal) {
  const count = make("p", { class: "lead" }), result = make("div", { "aria-busy": "true" }), error = make("p", { class: "error", role: "alert" });
  place.append(make("h1", { tabindex: "-1" }, t("view_live")), count, error, result);
  again(2, signal, async () => {
    try {
      const { data, workers } = await ask("admin/live", held.admin, { signal });
      error.textContent = "";
      count.textContent = t("live_count", { count: number(data.length), workers: number(workers) });
      result.replaceChildren(running(data));
    } catch (problem) {
      if (problem.name !== "AbortError") error.textContent = problem.message;
    }
    result.removeAttribute("aria-busy");
  });
}

function running(requests) {
  return table(t("view_live"), [
    { title: t("key"), name: true, cell: (each) => each.key_id ?? t("none") },
    { title: t("team"), name: true, cell: (each) => each.team ?? "–" },
    { title: t("model"), name: true, cell: (each) => each.model ?? "–" },
    { title: t("served_by"), name: true, cell: (each) => [each.served_model, each.provider].filter(Boolean).join(" · ") || "–" },
    { title: t("kind"), cell: (each) => t(each.stream ? "kind_stream" : "kind_plain") },
    { title: t("runs_for"), number: true, cell: (each) => seconds(each.seconds) },
    { title: t("first_token"), number: true, cell: (each) => (each.first_token_seconds === null ? "–" : seconds(each.first_token_seconds)) },
    { title: t("attempts"), number: true, cell: (each) => number(each.attempts) },
    { title: t("request"), name: true, cell: (each) => make("code", { class: "id" }, each.request_id) },
  ], requests, t("nothing_runs"));
}
