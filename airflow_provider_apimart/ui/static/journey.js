// A video's way to the public: made, checked, approved, posted; first in one line that is understood at a glance, then
// each part in words.

import { Badge, OutLink, h } from "./kit.js";
import { moment, number, t, word } from "./language.js";
import { Facts, tone } from "./parts.js";

const MARKS = { good: "✓", bad: "✕", busy: "…", wait: "!", calm: "" };

function made(view) {
  const count = view.videos?.length ?? 0;
  if (count > 0) return ["good", t("videosMade", { n: count })];
  const look = tone(view.outcome);
  return [look === "good" ? "calm" : look, word("outcome", view.outcome) || t("notYet")];
}

function checked({ check }) {
  return check ? [tone(check.verdict), word("verdict", check.verdict)] : ["calm", t("noCheck")];
}

function approved({ approval }) {
  if (approval?.state === "take_under_way") return ["busy", t("takeUnderWay")];
  if (!approval?.decision) return approval ? ["wait", t("waits")] : ["calm", t("noDecision")];
  const { decision, by } = approval;
  if (decision === "approved" && nameOf(by)) return ["good", t("byWhom", { who: nameOf(by) })];
  return [tone(decision), word("decision", decision)];
}

function nameOf(by) {
  return typeof by === "string" ? by : by?.name || by?.id;
}

/** What others can see of a post now. */
function standing({ state, privacy }) {
  return state === "public" && privacy ? privacy : state;
}

function posted({ posts }) {
  const byRank = ["public", "scheduled", "unlisted", "private"];
  const rank = (post) => (byRank.indexOf(standing(post)) + byRank.length + 1) % (byRank.length + 1);
  const [best] = [...(posts ?? [])].sort((a, b) => rank(a) - rank(b));
  if (best === undefined) return ["calm", t("notPosted")];
  const where = (post) => word("target", post.target);
  const open = posts.filter((post) => standing(post) === "public");
  if (open.length > 0) return ["good", t("postedOn", { where: [...new Set(open.map(where))].join(", ") })];
  const values = { where: where(best), how: word("post", standing(best)), when: moment(best.at) };
  if (standing(best) === "scheduled") return ["busy", t("postedAt", values)];
  return [tone(standing(best)), t("postedAs", values)];
}

export function Journey({ view }) {
  const steps = [
    [t("stepMade"), ...made(view)],
    [t("stepChecked"), ...checked(view)],
    [t("stepApproved"), ...approved(view)],
    [t("stepPosted"), ...posted(view)],
  ];
  return h(
    "ol",
    { className: "apimart-journey", "aria-label": t("journey") },
    steps.map(([name, look, text]) =>
      h(
        "li",
        { key: name, className: `apimart-step apimart-tone-${look}` },
        h("span", { className: "apimart-step-mark", "aria-hidden": true }, MARKS[look]),
        h("span", { className: "apimart-step-name" }, name),
        h("span", { className: "apimart-step-text" }, text),
      ),
    ),
  );
}

function text(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Who decided what, when, and which texts were changed. */
export function Decision({ approval }) {
  if (!approval?.decision) return null;
  const { decision, by, at, changes, reason, chosen, sheet } = approval;
  return h(
    "section",
    { className: "apimart-part" },
    h("h3", null, t("approval"), " ", h(Badge, { tone: tone(decision) }, word("decision", decision))),
    h(Facts, {
      facts: [
        [t("decidedBy"), nameOf(by) ?? t("nobody")],
        [t("decidedAt"), at && moment(at)],
        [t("approvedOf"), sheet && t("approvedOfAll", { n: number(sheet.approved), of: number(sheet.videos) })],
        [t("chosenVideo"), chosen],
        [t("reason"), reason],
        ...Object.entries(changes ?? {}).map(([field, value]) => [t("changedField", { field }), text(value)]),
      ],
    }),
  );
}

/** Where the video was posted. */
export function Posts({ posts }) {
  if (!posts?.length) return null;
  const one = (post, index) =>
    h(
      "li",
      { key: index, className: "apimart-post" },
      h("strong", null, word("target", post.target)),
      h(Badge, { tone: tone(standing(post)) }, word("post", standing(post))),
      post.at && h("span", { className: "apimart-muted" }, moment(post.at)),
      post.url && h(OutLink, { href: post.url }, t("openPost")),
      post.studio_url && h(OutLink, { href: post.studio_url }, t("openStudio")),
    );
  return h(
    "section",
    { className: "apimart-part" },
    h("h3", null, t("postedWhere")),
    h("ul", { className: "apimart-list" }, posts.map(one)),
  );
}

/** What the check measured: what is not as it should be in full, and all else for those who open it. */
export function Check({ check }) {
  const rules = Array.isArray(check?.rules) ? check.rules : [];
  if (!check) return null;
  const text = rules.length === 0 && check.text;
  const order = { fail: 0, skip: 1, warn: 2 };
  const broken = rules.filter((each) => each.verdict !== "ok");
  broken.sort((a, b) => (order[a.verdict] ?? 3) - (order[b.verdict] ?? 3));
  const held = rules.filter((each) => each.verdict === "ok");
  const line = (rule, index) =>
    h(
      "li",
      { key: index },
      h(Badge, { tone: tone(rule.verdict) }, word("mark", rule.verdict)),
      h("span", { dir: "auto" }, rule.text ?? word("rule", rule.rule)),
    );
  return h(
    "section",
    { className: "apimart-part" },
    h("h3", null, t("check"), " ", h(Badge, { tone: tone(check.verdict) }, word("verdict", check.verdict))),
    text && h("p", { dir: "auto", className: "apimart-said" }, text),
    broken.length > 0 && h("ul", { className: "apimart-list apimart-rules" }, broken.map(line)),
    held.length > 0 &&
      h(
        "details",
        { className: "apimart-details" },
        h("summary", null, t("checksHeld", { n: held.length })),
        h("ul", { className: "apimart-list apimart-rules" }, held.map(line)),
      ),
  );
}
