// What the page says, in the reader's language. Each language is one file of texts/, with the same names.

export const LANGUAGES = { en: "English", zh: "简体中文" };

const KEPT = "language"; // of the choice; nothing else of the page outlives its tab

let texts = {};
let current = "en";

/** The language that was chosen before, else the first of the browser's that there is, else English. */
export function preferred() {
  const wished = [kept(), ...navigator.languages].filter(Boolean);
  return wished.map((name) => name.toLowerCase().split("-")[0]).find((name) => name in LANGUAGES) ?? "en";
}

export async function speak(language) {
  const answer = await fetch(new URL(`texts/${language}.json`, import.meta.url));
  texts = await answer.json();
  current = language;
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
}

export function choose(language) {
  try {
    localStorage.setItem(KEPT, language);
  } catch {
    // A browser that keeps nothing asks again next time.
  }
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

/** The text called `name`, with `{word}` in it replaced. */
export function t(name, words = {}) {
  const text = texts[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (whole, word) => (word in words ? String(words[word]) : whole));
}

export const number = (value) => new Intl.NumberFormat(current).format(value);
export const short = (value) => new Intl.NumberFormat(current, { notation: "compact", maximumFractionDigits: 1 }).format(value);
export const percent = (value) => new Intl.NumberFormat(current, { style: "percent", maximumFractionDigits: 0 }).format(value);

/** Millionths of a dollar are shown where there is less than a cent. */
export function usd(value) {
  if (value === null || value === undefined) return t("unknown");
  const digits = value !== 0 && Math.abs(value) < 0.01 ? 6 : 2;
  const format = { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", maximumFractionDigits: digits };
  return new Intl.NumberFormat(current, format).format(value);
}

/** To the last digit: prices of tokens are fractions of a cent. */
export function price(value) {
  const format = { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", maximumFractionDigits: 6 };
  return new Intl.NumberFormat(current, format).format(value);
}

export function moment(text) {
  return new Intl.DateTimeFormat(current, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
}

/** A moment of the last days, to the second. */
export function lately(text) {
  const format = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
  return new Intl.DateTimeFormat(current, format).format(new Date(text));
}

/** A day such as 2027-01-31, which is one of UTC. */
export function day(text, style = { month: "short", day: "numeric" }) {
  return new Intl.DateTimeFormat(current, { ...style, timeZone: "UTC" }).format(new Date(`${text}T00:00:00Z`));
}

export function seconds(value) {
  const [unit, amount] = value >= 7200 ? ["hour", value / 3600] : value >= 120 ? ["minute", value / 60]
    : value >= 1 ? ["second", value] : ["millisecond", value * 1000];
  const digits = unit === "second" && value < 10 ? 1 : 0;
  return new Intl.NumberFormat(current, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }).format(amount);
}
