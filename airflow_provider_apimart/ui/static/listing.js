// Lists of generations in pages. The server hands out a cursor for the next page; the way back is kept here.

import { Notice, h, useCallback, useEffect, useState } from "./kit.js";
import { Cards } from "./cards.js";
import { number, t } from "./language.js";
import { Loading, OutcomeFilter, Pager, Problem, Totals } from "./parts.js";
import { appUrl, get } from "./server.js";

const PAGE_SIZE = 24;
// A search looks at a part of all generations in each request; after so many requests the user says whether to go on.
const REQUESTS = 8;

async function loadPage(query, cursor, signal) {
  const items = [];
  let next = cursor;
  let answer;
  for (let request = 0; request < REQUESTS; request += 1) {
    answer = await get(appUrl("api/generations", { ...query, cursor: next, limit: PAGE_SIZE - items.length }), signal);
    items.push(...answer.items);
    next = answer.next;
    if (!next || items.length >= PAGE_SIZE) break;
  }
  return { ...answer, items, next };
}

/** The generations that `query` finds, a page at a time. */
export function useListing(query) {
  const wanted = JSON.stringify(query);
  const [cursors, setCursors] = useState({ wanted, stack: [""] });
  const stack = cursors.wanted === wanted ? cursors.stack : [""];
  const cursor = stack[stack.length - 1];
  const [state, setState] = useState({ data: null, error: null, busy: true });
  const [round, setRound] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    setState((old) => ({ ...old, busy: true }));
    loadPage(JSON.parse(wanted), cursor, control.signal).then(
      (data) => setState({ data, error: null, busy: false }),
      (error) => !control.signal.aborted && setState((old) => ({ ...old, error, busy: false })),
    );
    return () => control.abort();
  }, [wanted, cursor, round]);
  const move = (next) => setCursors({ wanted, stack: next });
  return {
    ...state,
    page: stack.length,
    reload: useCallback(() => setRound((n) => n + 1), []),
    back: stack.length > 1 ? () => move(stack.slice(0, -1)) : null,
    next: state.data?.next && !state.busy ? () => move([...stack, state.data.next]) : null,
  };
}

function pageText(listing) {
  const { data, page } = listing;
  const of = data.exact === false ? t("atLeast", { n: number(data.total) }) : number(data.total);
  return t("pageTotal", { page: number(page), of });
}

function Nothing({ listing, filtered }) {
  if (listing.next) return h(Notice, { title: t("searchGoesOn") }, h("p", null, t("searchGoesOnNext")));
  const name = filtered ? "nothingFound" : "nothingYet";
  return h(Notice, { title: t(name) }, h("p", null, t(`${name}Next`)));
}

/** Totals, a filter by outcome, cards and paging. */
export function Listing({ listing, outcome, onOutcome, filtered, where }) {
  const { data, error, busy } = listing;
  if (data === null) return error ? h(Problem, { error, again: listing.reload }) : h(Loading);
  const index = data.index;
  return h(
    "div",
    { "aria-busy": busy, className: busy ? "apimart-stack apimart-busy" : "apimart-stack" },
    error && h(Problem, { error, again: listing.reload }),
    index?.text && index.state !== "ready" && h(Notice, { tone: "wait", title: t("indexNotReady") }, h("p", null, index.text)),
    h(Totals, { outcomes: data.outcomes, cost: data.cost_usd }),
    h(OutcomeFilter, { outcomes: data.outcomes, value: outcome, onChange: onOutcome }),
    data.items.length > 0 ? h(Cards, { views: data.items, where }) : h(Nothing, { listing, filtered }),
    (listing.back || listing.next) && h(Pager, { text: pageText(listing), onBack: listing.back, onNext: listing.next }),
  );
}
