// Charts of days: bars that CSS lays out, and the same numbers as a table for those who do not see them.

import { make } from "./elements.js";
import { table } from "./tables.js";
import { day, t } from "./texts.js";

/** Every day from `count - 1` days ago to today (UTC), as 2027-01-31. */
export function lastDays(count, now = Date.now()) {
  return Array.from({ length: count }, (_, index) =>
    new Date(now - (count - 1 - index) * 86_400_000).toISOString().slice(0, 10));
}

/**
 * Bars, one for each day. `series` are {title, values} from the bottom up, with a value for each of `days`; `format`
 * makes text of a value.
 */
export function chart(title, days, series, format) {
  const totals = days.map((_, index) => series.reduce((sum, each) => sum + each.values[index], 0));
  const largest = Math.max(...totals);
  const sum = totals.reduce((all, value) => all + value, 0);
  const bars = days.map((name, index) => bar(name, index, series, totals[index], largest, format));
  const label = t("chart_label", { title, sum: format(sum), largest: format(largest) });
  return make("figure", { class: "chart" },
    make("figcaption", {}, make("span", { class: "chart-title" }, title), make("strong", {}, format(sum))),
    series.length > 1 && make("ul", { class: "legend" }, series.map((each, index) =>
      make("li", {}, make("span", { class: `key series-${index}` }), each.title))),
    make("div", { class: "bars", role: "img", "aria-label": label }, bars),
    make("div", { class: "axis", "aria-hidden": "true" },
      make("span", {}, day(days[0])), make("span", {}, t("most", { value: format(largest) })),
      make("span", {}, day(days[days.length - 1]))),
    make("details", {}, make("summary", {}, t("as_table")), table(title, [
      { title: t("day"), cell: (index) => day(days[index], { dateStyle: "medium" }) },
      ...series.map((each) => ({ title: each.title, number: true, cell: (index) => format(each.values[index]) })),
    ], days.map((_, index) => index), "")));
}

function bar(name, index, series, total, largest, format) {
  const stack = make("span", { class: "stack" }, series.map((each, number) => {
    const part = make("span", { class: `series-${number}` });
    part.style.flexGrow = String(each.values[index] / total); // shares: below 1 in all, they would leave room
    return part;
  }));
  stack.style.height = `${largest > 0 ? (total / largest) * 100 : 0}%`;
  return make("span", { class: "slot", title: `${day(name)}: ${format(total)}` }, total > 0 && stack);
}
