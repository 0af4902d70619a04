// A batch task: how far its table is, and its rows, filtered and in pages.

import { h, useState } from "./kit.js";
import { Cards } from "./cards.js";
import { isWorking, Progress, Trouble } from "./generation.js";
import { number, t, word } from "./language.js";
import { Copyable, Facts, Loading, OutcomeFilter, Pager, Problem, Totals, tone } from "./parts.js";
import { Pictures } from "./pictures.js";
import { appUrl, instancePath, useServer } from "./server.js";

const PAGE_SIZE = 24;
const REFRESH = 10_000;

// One bar, a part for each outcome; the words and counts are in the filter below it.
function Shares({ outcomes }) {
  const counts = Object.entries(outcomes ?? {}).filter(([, n]) => n > 0);
  const total = counts.reduce((all, [, n]) => all + n, 0);
  if (total === 0) return null;
  const label = counts.map(([name, n]) => `${word("outcome", name)}: ${number(n)}`).join(", ");
  return h(
    "div",
    { className: "apimart-shares", role: "img", "aria-label": label },
    counts.map(([name, n]) =>
      h("div", { key: name, className: `apimart-share apimart-tone-${tone(name)}`, style: { flexGrow: n } }),
    ),
  );
}

export function Batch({ view, onCleared }) {
  const [outcome, setOutcome] = useState("");
  const [page, setPage] = useState(1);
  const url = appUrl(`api/rows/${instancePath(view)}`, { outcome, page, page_size: PAGE_SIZE });
  const { data, error, last, reload } = useServer(url, () => (isWorking(view) ? REFRESH : 0));
  const shown = data ?? last;
  const pages = Math.max(1, Math.ceil((shown?.total ?? 0) / PAGE_SIZE));
  const choose = (next) => {
    setOutcome(next);
    setPage(1);
  };
  return h(
    "article",
    { className: "apimart-batch" },
    isWorking(view) && h(Progress, { view }),
    !isWorking(view) && (view.error || view.outcome === "failed") && h(Trouble, { view, onCleared }),
    h(Totals, {
      outcomes: shown?.outcomes ?? view.summary?.outcomes,
      // What works on videos pays for nothing.
      cost: view.kind === "media_batch" ? undefined : (view.summary?.cost_usd ?? view.cost_usd ?? null),
    }),
    shown && h(Shares, { outcomes: shown.outcomes }),
    shown?.manifest &&
      h(Facts, { facts: [[t("manifest"), h(Copyable, { label: t("manifest"), value: shown.manifest })]] }),
    h(OutcomeFilter, { outcomes: shown?.outcomes, value: outcome, onChange: choose }),
    error && h(Problem, { error, again: reload }),
    !shown && !error && h(Loading),
    shown?.manifest && shown.rows?.length === 0 && h("p", { className: "apimart-muted" }, t("noRows")),
    shown?.rows?.length > 0 && h(Cards, { views: shown.rows }),
    shown &&
      pages > 1 &&
      h(Pager, {
        text: t("pageOf", { n: number(page), of: number(pages) }),
        onBack: page > 1 ? () => setPage(page - 1) : null,
        onNext: page < pages ? () => setPage(page + 1) : null,
      }),
    h(Pictures, { pictures: view.pictures, title: t("contactSheets") }),
  );
}
