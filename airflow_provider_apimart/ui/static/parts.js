// Pieces that several pages share: text from outside, facts, totals, paging, and what to say when a server refuses.

import { Badge, Button, Notice, h, names, useEffect, useRef, useState } from "./kit.js";
import { money, number, t, word } from "./language.js";

/** How an outcome looks: of a generation, of a row in a batch, or of a post. */
const TONES = {
  completed: "good",
  landed: "good",
  reused: "good",
  success: "good",
  approved: "good",
  public: "good",
  delivered: "good",
  ok: "good",
  running: "busy",
  queued: "busy",
  submitted: "busy",
  scheduled: "busy",
  parked: "wait",
  unlanded: "wait",
  unknown: "wait",
  left: "wait",
  another_take: "wait",
  warn: "wait",
  failed: "bad",
  rejected: "bad",
  refused: "bad",
  model_gone: "bad",
  empty: "bad",
  lost_file: "bad",
  check_failed: "bad",
  check_skipped: "bad",
  media_failed: "bad",
  fail: "bad",
  skip: "bad",
};

export function tone(outcome) {
  return TONES[outcome] ?? "calm";
}

export function Outcome({ value }) {
  if (!value) return null;
  return h(Badge, { tone: tone(value) }, word("outcome", value));
}

// Text from outside keeps its own direction, breaks anywhere, and is cut to a few lines until asked for.
export function Prompt({ text, lines = 4 }) {
  const box = useRef(null);
  const [open, setOpen] = useState(false);
  const [cut, setCut] = useState(false);
  useEffect(() => {
    const element = box.current;
    if (element !== null && !open) setCut(element.scrollHeight > element.clientHeight + 1);
  }, [text, open]);
  if (!text) return h("p", { className: "apimart-muted" }, t("noPrompt"));
  return h(
    "div",
    null,
    h(
      "p",
      { ref: box, dir: "auto", className: names("apimart-prompt", !open && `apimart-lines-${lines}`) },
      String(text),
    ),
    (cut || open) &&
      h(
        "button",
        { type: "button", className: "apimart-more", "aria-expanded": open, onClick: () => setOpen(!open) },
        t(open ? "showLess" : "showAll"),
      ),
  );
}

// A value that people paste elsewhere: a path, an id, a checksum.
export function Copyable({ label, value }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(value);
      setCopied(true);
    } catch {
      setCopied(false); // Without https the browser may forbid it; the text can still be marked by hand.
    }
  };
  return h(
    "span",
    { className: "apimart-copyable" },
    h("code", { className: "apimart-code" }, value),
    navigator.clipboard &&
      h(
        "button",
        { type: "button", className: "apimart-more", onClick: copy, "aria-label": t("copyThis", { what: label }) },
        h("span", { "aria-live": "polite" }, t(copied ? "copied" : "copy")),
      ),
  );
}

/** `facts` are [label, value] pairs; those without a value are left out. */
export function Facts({ facts }) {
  const shown = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (shown.length === 0) return null;
  return h(
    "dl",
    { className: "apimart-facts" },
    shown.map(([label, value]) => h("div", { key: label }, h("dt", null, label), h("dd", { dir: "auto" }, value))),
  );
}

export function Tile({ label, value, tone: look = "calm" }) {
  return h(
    "div",
    { className: `apimart-tile apimart-tone-${look}` },
    h("span", { className: "apimart-tile-value" }, value),
    h("span", { className: "apimart-tile-label" }, label),
  );
}

const GOOD = ["completed", "landed", "reused"];
const BAD = "failed rejected refused model_gone empty lost_file check_failed check_skipped media_failed".split(" ");
const sum = (counts, keys) => keys.reduce((total, key) => total + (counts?.[key] ?? 0), 0);

/** The sums of many generations: videos, spend (if there is a `cost`), what runs, what failed. */
export function Totals({ outcomes, cost }) {
  const good = sum(outcomes, GOOD);
  const bad = sum(outcomes, BAD);
  const other = Object.values(outcomes ?? {}).reduce((total, n) => total + n, 0) - good - bad;
  return h(
    "div",
    { className: "apimart-tiles" },
    h(Tile, { label: t("videosTotal"), value: number(good), tone: good ? "good" : "calm" }),
    cost !== undefined && h(Tile, { label: t("spendTotal"), value: money(cost) }),
    h(Tile, { label: t("failuresTotal"), value: number(bad), tone: bad ? "bad" : "calm" }),
    other > 0 && h(Tile, { label: t("openTotal"), value: number(other), tone: "busy" }),
  );
}

/** Buttons to choose one outcome, each with its count. */
export function OutcomeFilter({ outcomes, value, onChange }) {
  const counts = Object.entries(outcomes ?? {}).filter(([, n]) => n > 0);
  if (counts.length < 2 && !value) return null;
  const total = counts.reduce((all, [, n]) => all + n, 0);
  const choice = (key, text, n) =>
    h(
      "button",
      {
        key,
        type: "button",
        className: names("apimart-chip", value === key && "apimart-chip-on"),
        "aria-pressed": value === key,
        onClick: () => onChange(key),
      },
      `${text} `,
      h("span", { className: "apimart-chip-count" }, number(n)),
    );
  return h(
    "div",
    { className: "apimart-chips", role: "group", "aria-label": t("filterByOutcome") },
    choice("", t("allOutcomes"), total),
    counts.map(([key, n]) => choice(key, word("outcome", key), n)),
  );
}

export function Pager({ text, onBack, onNext }) {
  return h(
    "nav",
    { className: "apimart-pager", "aria-label": t("pages") },
    h(Button, { disabled: !onBack, onClick: onBack ?? undefined }, t("back")),
    h("span", { className: "apimart-muted", "aria-live": "polite" }, text),
    h(Button, { disabled: !onNext, onClick: onNext ?? undefined }, t("next")),
  );
}

export function Loading() {
  return h("p", { className: "apimart-muted apimart-loading", role: "status" }, t("loading"));
}

/** What to say when a route did not answer as it should; `again` asks once more. */
export function Problem({ error, again }) {
  const known = { 0: "offline", 401: "loggedOut", 403: "forbidden", 404: "notThere" };
  const name = known[error.status] ?? "serverTrouble";
  const retry = again && ![403, 404].includes(error.status);
  return h(
    Notice,
    {
      tone: [403, 404].includes(error.status) ? "calm" : "bad",
      title: t(name),
      actions: retry && h(Button, { onClick: again }, t("tryAgain")),
    },
    h("p", null, t(`${name}Next`)),
    error.status >= 500 && h("p", { className: "apimart-code" }, error.message),
  );
}
