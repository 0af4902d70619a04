// The gallery in Airflow's navigation: every generation that this user may see, to search, filter and sort.

import { Button, Field, Input, Select, h, register, useEffect, useId, useMemo, useState } from "./kit.js";
import { SpendChart } from "./chart.js";
import { t } from "./language.js";
import { Listing, useListing } from "./listing.js";
import { appUrl, useServer } from "./server.js";

const TYPING = 400;
const EMPTY = { q: "", dag_id: "", label: "", outcome: "", from: "", to: "", sort: "submitted_at desc" };
const SORTS = ["submitted_at desc", "submitted_at asc", "cost_usd desc", "cost_usd asc"];
const CHART_DAYS = 30;

/** The value, once it has not changed for a moment. */
function useSettled(value) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), TYPING);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

function Filters({ filters, onChange, csv, dags }) {
  const known = useId();
  const input = (name, props = {}) =>
    h(Input, { value: filters[name], onChange: (event) => onChange({ [name]: event.target.value }), ...props });
  const select = (name, options) =>
    h(Select, { options, value: filters[name], onChange: (event) => onChange({ [name]: event.target.value }) });
  return h(
    "form",
    { className: "apimart-filters", role: "search", onSubmit: (event) => event.preventDefault() },
    h("div", { className: "apimart-filter-wide" }, h(Field, { label: t("searchPrompt") }, input("q", { type: "search", placeholder: t("searchHint") }))),
    h(Field, { label: t("dag") }, input("dag_id", { list: known })),
    h("datalist", { id: known }, dags.map((each) => h("option", { key: each, value: each }))),
    h(Field, { label: t("label") }, input("label", { placeholder: t("labelHint") })),
    h(Field, { label: t("from") }, input("from", { type: "date", max: filters.to || undefined })),
    h(Field, { label: t("to") }, input("to", { type: "date", min: filters.from || undefined })),
    h(Field, { label: t("sort") }, select("sort", SORTS.map((each) => [each, t(`sort.${each}`)]))),
    h(
      "div",
      { className: "apimart-actions apimart-filter-actions" },
      h(Button, { onClick: () => onChange(EMPTY) }, t("clearFilters")),
      h("a", { className: "apimart-link", href: csv, download: "generations.csv" }, t("csv")),
    ),
  );
}

/** The spend by day, and the Dags to suggest: those that spent anything, whichever Dag is asked for just now. */
function useSpend({ from, to, dag_id }) {
  const [dags, setDags] = useState([]);
  const { data } = useServer(appUrl("api/spend", { from: from || daysAgo(CHART_DAYS), to, dag_id }));
  useEffect(() => {
    if (data && !dag_id) setDags([...new Set(data.days.map((each) => each.dag_id))].sort());
  }, [data]);
  return { days: data?.days, dags };
}

function daysAgo(count) {
  return new Date(Date.now() - count * 86_400_000).toISOString().slice(0, 10);
}

function Gallery() {
  const [filters, setFilters] = useState(EMPTY);
  // Of two changes between two drawings, the second must not undo the first.
  const change = (values) => setFilters((old) => ({ ...old, ...values }));
  const settled = useSettled(filters);
  const query = useMemo(() => {
    const [sort, direction] = settled.sort.split(" ");
    return { ...settled, sort, direction };
  }, [settled]);
  const listing = useListing(query);
  const { days, dags } = useSpend(query);
  const filtered = JSON.stringify({ ...settled, sort: "" }) !== JSON.stringify({ ...EMPTY, sort: "" });
  return h(
    "div",
    { className: "apimart-gallery apimart-stack" },
    h("h1", null, t("gallery")),
    h(Filters, { filters, onChange: change, dags, csv: appUrl("api/generations.csv", query) }),
    days && h(SpendChart, { rows: days }),
    h(Listing, {
      listing,
      filtered,
      where: true,
      outcome: filters.outcome,
      onOutcome: (outcome) => change({ outcome }),
    }),
  );
}

register("Videos", Gallery);
