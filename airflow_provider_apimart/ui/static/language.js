// The language of the pages: the one chosen in Airflow, as far as texts.js has it, else English; and numbers, money,
// times and sizes as that language writes them.

import { TEXTS } from "./texts.js";

function stored(key) {
  try {
    return globalThis.localStorage.getItem(key);
  } catch {
    return null; // Storage can be forbidden.
  }
}

/** The two-letter code of the language in use; Airflow keeps its choice in the browser's storage. */
export function language() {
  const wanted = stored("i18nextLng") || globalThis.navigator?.language || document.documentElement.lang || "en";
  const code = wanted.slice(0, 2).toLowerCase();
  return code in TEXTS ? code : "en";
}

/** The text of that name. `{word}` in it is replaced by `values.word`; a list holds the forms for one and for many. */
export function t(name, values = {}) {
  let text = TEXTS[language()][name] ?? TEXTS.en[name];
  if (text === undefined) return name;
  if (Array.isArray(text)) text = values.n === 1 ? text[0] : text[1];
  return text.replace(/\{(\w+)\}/g, (whole, word) => (word in values ? String(values[word]) : whole));
}

/** The text for a word of the server's, such as an outcome; a word that texts.js does not know stays as it is. */
export function word(group, value) {
  if (value === null || value === undefined || value === "") return "";
  const name = `${group}.${value}`;
  const text = TEXTS[language()][name] ?? TEXTS.en[name];
  return text ?? String(value).replaceAll("_", " ");
}

export function number(value, options) {
  return new Intl.NumberFormat(language(), options).format(value);
}

export function money(value) {
  if (typeof value !== "number") return t("unknownValue");
  const digits = value !== 0 && Math.abs(value) < 0.1 ? 4 : 2;
  return number(value, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", maximumFractionDigits: digits });
}

export function size(bytes) {
  if (typeof bytes !== "number") return t("unknownValue");
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const step = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  const digits = step > 1 ? 1 : 0;
  return number(bytes / 1000 ** step, { style: "unit", unit: units[step], maximumFractionDigits: digits });
}

/** A length of time in its two largest units: 1 h 5 min, 42 sec. */
export function duration(seconds) {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return t("unknownValue");
  const whole = Math.max(0, Math.round(seconds));
  const parts = [
    ["day", Math.floor(whole / 86400)],
    ["hour", Math.floor(whole / 3600) % 24],
    ["minute", Math.floor(whole / 60) % 60],
    ["second", whole % 60],
  ];
  const first = parts.findIndex(([, count]) => count > 0);
  const shown = first < 0 ? parts.slice(-1) : parts.slice(first, first + 2).filter(([, count]) => count > 0);
  return shown.map(([unit, count]) => number(count, { style: "unit", unit, unitDisplay: "short" })).join(" ");
}

/** A moment, in the time zone chosen in Airflow, else the browser's. */
export function moment(iso) {
  const at = new Date(iso);
  if (!iso || Number.isNaN(at.getTime())) return t("unknownValue");
  const look = { dateStyle: "medium", timeStyle: "short" };
  try {
    return new Intl.DateTimeFormat(language(), { ...look, timeZone: stored("timezone") || undefined }).format(at);
  } catch {
    return new Intl.DateTimeFormat(language(), look).format(at);
  }
}

/** A day given as YYYY-MM-DD, short. */
export function day(text) {
  const at = new Date(`${text}T00:00:00Z`);
  if (Number.isNaN(at.getTime())) return text;
  return new Intl.DateTimeFormat(language(), { month: "short", day: "numeric", timeZone: "UTC" }).format(at);
}
