// Tables, which become lists of cards on a narrow screen, and bars. Roles are written out: a table that CSS lays out as
// blocks would be none to a screen reader.

import { make } from "./elements.js";
import { t } from "./texts.js";

const MOST = 200; // rows; more help nobody, and take the browser seconds

/**
 * A table of `rows`. A column is {title, cell(row), number, name}: `cell` gives text or elements; `name` is for what
 * others have named, which may be one word of any length.
 */
export function table(caption, columns, rows, empty) {
  if (!rows.length) return make("p", { class: "hint" }, empty);
  const head = make("tr", { role: "row" }, columns.map((column) =>
    make("th", { role: "columnheader", scope: "col", class: column.number ? "number" : null }, column.title)));
  const body = rows.slice(0, MOST).map((row) => make("tr", { role: "row" }, columns.map((column) =>
    make("td", { role: "cell", "data-title": column.title, class: column.number ? "number" : column.name ? "given" : null },
      make("div", {}, column.cell(row))))));
  return make("div", {},
    make("table", { role: "table" }, make("caption", { class: "unseen" }, caption),
      make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, body)),
    rows.length > MOST && make("p", { class: "hint" }, t("first_rows", { shown: MOST, all: rows.length })));
}

/** How much of something is used: a bar from 0 to 1. */
export function level(share, label) {
  const kind = share >= 1 ? "full" : share >= 0.8 ? "high" : "low";
  const bar = make("span", { class: `level ${kind}`, role: "meter", "aria-label": label,
    "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(Math.min(share, 1) * 100) }, make("span", {}));
  bar.firstChild.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return bar;
}

/** A bar behind a number of a table, as long as its share of the largest. */
export function share(value, largest, text) {
  if (!(value > 0)) return text;
  const bar = make("span", { class: "share", "aria-hidden": "true" });
  bar.style.width = `${(value / largest) * 100}%`;
  return make("span", { class: "shared" }, make("span", {}, text), bar);
}
