// Spend by day and Dag, as bars. The same numbers stand in a table, for who cannot see the bars.

import { h, useEffect, useRef, useState } from "./kit.js";
import { day, money, number, t } from "./language.js";

const HEIGHT = 150;
const SIDE = 52;
const FOOT = 20;
const COLOURS = 5;

/** Sums by day and Dag; the Dags that cost most have colours of their own, the others share one. */
function arrange(rows) {
  const byDag = new Map();
  const byDay = new Map();
  for (const { day: on, dag_id: dag, cost_usd: cost } of rows) {
    byDag.set(dag, (byDag.get(dag) ?? 0) + (cost ?? 0));
    const sums = byDay.get(on) ?? new Map();
    byDay.set(on, sums.set(dag, (sums.get(dag) ?? 0) + (cost ?? 0)));
  }
  const dags = [...byDag].sort((a, b) => b[1] - a[1]).map(([dag]) => dag);
  const many = dags.length > COLOURS;
  const own = many ? dags.slice(0, COLOURS - 1) : dags;
  const days = [...byDay].sort(([a], [b]) => (a < b ? -1 : 1)).map(([on, sums]) => {
    const parts = own.map((dag) => sums.get(dag) ?? 0);
    const total = [...sums.values()].reduce((all, n) => all + n, 0);
    if (many) parts.push(Math.max(0, total - parts.reduce((all, n) => all + n, 0)));
    return { on, parts, total };
  });
  return { days: filled(days), names: many ? [...own, t("otherDags")] : own };
}

/** The days between, on which nothing was spent, are days too. */
function filled(days) {
  if (days.length === 0) return days;
  const known = new Map(days.map((each) => [each.on, each]));
  const all = [];
  const end = Date.parse(days[days.length - 1].on);
  for (let at = Date.parse(days[0].on); at <= end && all.length < 400; at += 86_400_000) {
    const on = new Date(at).toISOString().slice(0, 10);
    all.push(known.get(on) ?? { on, parts: [], total: 0 });
  }
  return all;
}

/** A round number at or above `value`, for the top of the scale. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * power).find((n) => n >= value - 1e-12);
}

function Bar({ at, each, width, scale }) {
  let top = HEIGHT - FOOT;
  const x = SIDE + at * width;
  const parts = each.parts.map((cost, index) => {
    const height = cost * scale;
    top -= height;
    const size = { x: x + width * 0.15, y: top, width: Math.max(width * 0.7, 1), height };
    return h("rect", { key: index, ...size, className: `apimart-colour-${index}` });
  });
  return h("g", null, h("title", null, `${day(each.on)}: ${money(each.total)}`), parts);
}

/** The width of an element, as it is now. */
function useWidth(box) {
  const [width, setWidth] = useState(720);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.max(260, Math.round(entry.contentRect.width))));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, [box]);
  return width;
}

function Bars({ days, label }) {
  const box = useRef(null);
  const all = useWidth(box);
  const most = roundUp(Math.max(...days.map(({ total }) => total), 0.01));
  const width = (all - SIDE) / Math.max(days.length, 7);
  const scale = (HEIGHT - FOOT - 10) / most;
  const line = (share) => {
    const y = HEIGHT - FOOT - most * share * scale;
    return h(
      "g",
      { key: share },
      h("line", { x1: SIDE, x2: all, y1: y, y2: y, className: "apimart-grid-line" }),
      h("text", { x: SIDE - 6, y: y + 4, textAnchor: "end" }, money(most * share)),
    );
  };
  const every = Math.ceil(70 / width);
  const name = (each, at) =>
    at % every === 0 && h("text", { key: each.on, x: SIDE + (at + 0.5) * width, y: HEIGHT - 4, textAnchor: "middle" }, day(each.on));
  return h(
    "div",
    { ref: box },
    h(
      "svg",
      { viewBox: `0 0 ${all} ${HEIGHT}`, className: "apimart-chart", role: "img", "aria-label": label },
      [0, 0.5, 1].map(line),
      days.map((each, at) => h(Bar, { key: each.on, at, each, width, scale })),
      days.map(name),
    ),
  );
}

function Table({ days, names }) {
  const head = [t("day"), ...names, t("spendTotal")];
  const cells = (each) => [day(each.on), ...names.map((_, index) => money(each.parts[index] ?? 0)), money(each.total)];
  return h(
    "details",
    { className: "apimart-details" },
    h("summary", null, t("asTable")),
    h(
      "div",
      { className: "apimart-scroll", tabIndex: 0, role: "region", "aria-label": t("spendByDay") },
      h(
        "table",
        { className: "apimart-table" },
        h("thead", null, h("tr", null, head.map((text, index) => h("th", { key: index, scope: "col" }, text)))),
        h(
          "tbody",
          null,
          days.map((each) => h("tr", { key: each.on }, cells(each).map((text, index) => h("td", { key: index }, text)))),
        ),
      ),
    ),
  );
}

export function SpendChart({ rows }) {
  const { days, names } = arrange(rows);
  const total = days.reduce((all, each) => all + each.total, 0);
  if (total === 0) return h("p", { className: "apimart-muted" }, t("noSpend"));
  return h(
    "figure",
    { className: "apimart-figure" },
    h("figcaption", null, h("strong", null, t("spendByDay")), " ", h("span", { className: "apimart-muted" }, money(total))),
    h(Bars, { days, label: t("chartLabel", { n: number(days.length), usd: money(total) }) }),
    h(
      "ul",
      { className: "apimart-legend" },
      names.map((name, index) =>
        h("li", { key: name }, h("span", { className: `apimart-swatch apimart-colour-${index}`, "aria-hidden": true }), name),
      ),
    ),
    h(Table, { days, names }),
  );
}
