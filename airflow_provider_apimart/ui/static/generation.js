// One generation, in full: the video or what became of it, and all that is known about it.

import { Badge, Notice, PageLink, h } from "./kit.js";
import { ClearButton } from "./clear.js";
import { Check, Decision, Journey, Posts } from "./journey.js";
import { duration, moment, money, number, size, t, word } from "./language.js";
import { Copyable, Facts, Outcome, Prompt } from "./parts.js";
import { Pictures } from "./pictures.js";
import { Player } from "./player.js";
import { taskPage } from "./server.js";

const WORKING = ["running", "deferred", "queued", "scheduled", "restarting"];
const ASKING = ["awaiting_input", "deferred"];
const DOING = { publish: "beingPosted", media: "beingWorkedOn", media_batch: "beingWorkedOn", approval: "gettingReady" };

/** Does the task wait for a person? */
export function isAsking(view) {
  return view.kind === "approval" && ASKING.includes(view.state) && view.approval?.state !== "take_under_way";
}

/** Is something still going on that the page should follow? */
export function isWorking(view) {
  return WORKING.includes(view.state) && !isAsking(view);
}

function seconds(from, to) {
  const span = (new Date(to) - new Date(from)) / 1000;
  return from && to && span >= 0 ? span : null;
}

/** How far it is: what APIMart says, else what is usual, else nothing. */
function progressOf({ progress, elapsed_seconds: elapsed, expected_seconds: expected }) {
  if (typeof progress === "number") return { percent: Math.max(0, Math.min(100, progress)), guess: false };
  if (!(expected > 0) || typeof elapsed !== "number") return { percent: null, guess: false };
  // A guess never says that it is done.
  return { percent: Math.min(95, Math.round((100 * elapsed) / expected)), guess: true };
}

function timeLeft({ elapsed_seconds: elapsed, expected_seconds: expected }) {
  if (!(expected > 0) || typeof elapsed !== "number") return null;
  return elapsed < expected ? t("about", { time: duration(expected - elapsed) }) : t("longer");
}

function Bar({ percent }) {
  const attributes = {
    className: `apimart-bar ${percent === null ? "apimart-bar-unknown" : ""}`,
    role: "progressbar",
    "aria-label": t("progress"),
    "aria-valuemin": 0,
    "aria-valuemax": 100,
    "aria-valuenow": percent ?? undefined,
  };
  const style = percent === null ? undefined : { width: `${percent}%` };
  return h("div", attributes, h("div", { className: "apimart-bar-done", style }));
}

function doing({ kind, generation_id: id, approval }) {
  if (approval?.state === "take_under_way") return "makingTake";
  return DOING[kind] ?? (id || kind === "batch" ? "makingVideo" : "gettingReady");
}

/** What a person wants to know while it runs. Screen readers hear of each tenth. */
export function Progress({ view }) {
  const { percent, guess } = progressOf(view);
  const waits = seconds(new Date().toISOString(), view.deadline);
  const said = percent === null ? null : t(guess ? "estimated" : "percent", { n: number(percent) });
  return h(
    "section",
    { className: "apimart-progress" },
    h(
      "h3",
      null,
      h("span", { className: "apimart-pulse", "aria-hidden": true }),
      t(doing(view)),
      said && h("span", { className: "apimart-percent" }, said),
    ),
    h(Bar, { percent }),
    h(
      "p",
      { className: "apimart-unseen", "aria-live": "polite" },
      percent === null ? "" : t("percentDone", { n: number(Math.floor(percent / 10) * 10) }),
    ),
    h(Facts, {
      facts: [
        [t("timeLeft"), timeLeft(view)],
        [t("elapsed"), typeof view.elapsed_seconds === "number" ? duration(view.elapsed_seconds) : null],
        [t("stopsWaiting"), waits === null ? null : t("stopsWaitingIn", { time: duration(waits) })],
        [t("airflowState"), word("state", view.state)],
      ],
    }),
    h("p", { className: "apimart-muted" }, t("refreshes")),
  );
}

/** Of a check task that failed: what is wrong with the video, in words. */
function brokenRules({ kind, check }) {
  if (kind !== "media" || !["fail", "skip"].includes(check?.verdict)) return null;
  const broken = (check.rules ?? []).filter((each) => each.verdict === check.verdict);
  return broken.map((each) => each.text || word("rule", each.rule)).join("\n") || null;
}

/** The headline of a trouble. A task that works on a video, or posts it, has not lost it. */
function troubled({ kind, outcome }, broken) {
  if (outcome === "lost_file") return "fileGone";
  if (broken) return "checkFailed";
  if (["media", "media_batch"].includes(kind)) return "workFailed";
  if (kind === "publish") return "postFailed";
  if (kind === "approval") return "approvalFailed";
  return outcome === "parked" ? "parkedTitle" : "failedTitle";
}

/** What happened, the money, what to do, and the button to do it. */
export function Trouble({ view, onCleared }) {
  const parked = view.outcome === "parked";
  const broken = brokenRules(view);
  const { text, money: paid, next } = view.error ?? {};
  const button = onCleared && view.clear && h(ClearButton, { view, onCleared });
  const part = (title, words) => words && h("div", null, h("dt", null, title), h("dd", { dir: "auto" }, words));
  return h(
    Notice,
    {
      tone: parked ? "wait" : "bad",
      title: t(troubled(view, broken)),
      actions: button,
    },
    h(
      "dl",
      { className: "apimart-trouble" },
      part(t("whatHappened"), text || broken || t("seeLog")),
      part(t("theMoney"), paid),
      part(t("whatToDo"), next || (broken && t("checkFailedNext"))),
    ),
  );
}

/** A person has to decide; Airflow's own page takes the answer. */
function Question({ view }) {
  const note = view.approval?.note;
  return h(
    Notice,
    {
      tone: "wait",
      title: t("waitsForDecision"),
      actions: h(PageLink, { to: taskPage(view, "required_actions"), className: "apimart-link" }, t(view.approval?.sheet ? "decideSheet" : "decide")),
    },
    note && h("p", { dir: "auto", className: "apimart-said" }, note),
    h("p", null, t(view.approval?.sheet ? "waitsForSheetNext" : "waitsForDecisionNext")),
  );
}

function shape(video) {
  const parts = [
    video?.width && video?.height ? `${video.width} × ${video.height}` : null,
    typeof video?.duration_seconds === "number" ? duration(video.duration_seconds) : null,
    video?.has_audio === true ? t("withSound") : video?.has_audio === false ? t("noSound") : null,
  ];
  return parts.filter(Boolean).join(" · ");
}

function files(videos) {
  const one = (video, index) =>
    h(
      "li",
      { key: index },
      videos.length > 1 && h("strong", { dir: "auto" }, video.name || t("sample", { n: index + 1, of: videos.length })),
      h(Facts, {
        facts: [
          [t("liesAt"), video.path && h(Copyable, { label: t("liesAt"), value: video.path })],
          [t("fileSize"), typeof video.bytes === "number" ? size(video.bytes) : null],
          [t("checksum"), video.sha256 && h(Copyable, { label: t("checksum"), value: video.sha256 })],
        ],
      }),
    );
  return h("ul", { className: "apimart-list" }, videos.map(one));
}

function parameters(given) {
  const shown = Object.entries(given ?? {}).filter(([, value]) => value !== null && value !== undefined);
  if (shown.length === 0) return null;
  const cell = (value) => h(Prompt, { text: typeof value === "object" ? JSON.stringify(value) : String(value), lines: 4 });
  return h(Facts, { facts: shown.map(([name, value]) => [name, cell(value)]) });
}

function Details({ view }) {
  const videos = view.videos ?? [];
  return h(
    "details",
    { className: "apimart-details" },
    h("summary", null, t("technical")),
    view.generation_id &&
      h(Facts, { facts: [[t("generationId"), h(Copyable, { label: t("generationId"), value: view.generation_id })]] }),
    videos.length > 0 && files(videos),
    h("h4", null, t("parameters")),
    parameters(view.parameters) ?? h("p", { className: "apimart-muted" }, t("noParameters")),
  );
}

/** The facts that anybody asks for. */
export function Summary({ view }) {
  const took = seconds(view.submitted_at, view.completed_at);
  return h(Facts, {
    facts: [
      [t("cost"), typeof view.cost_usd === "number" ? money(view.cost_usd) : isWorking(view) ? t("costUnknown") : null],
      [t("picture"), shape(view.videos?.[0])],
      [t("model"), view.model && String(view.model)],
      [t("seed"), view.seed ?? null],
      [t("label"), view.label && h(Prompt, { text: view.label, lines: 2 })],
      [t("row"), view.row && h(Prompt, { text: view.row, lines: 2 })],
      [t("submitted"), view.submitted_at && moment(view.submitted_at)],
      [t("completed"), view.completed_at && moment(view.completed_at)],
      [t("took"), took === null ? null : duration(took)],
      [t("fallbackFrom"), view.fallback_from],
    ],
  });
}

/**
 * The whole page of a generation; `onCleared` is left out where nothing can be cleared, such as in the gallery.
 */
export function Generation({ view, onCleared, journey = true }) {
  const videos = view.videos ?? [];
  const pictures = view.pictures ?? [];
  const trouble = view.error || ["failed", "parked", "lost_file"].includes(view.outcome);
  const working = isWorking(view);
  return h(
    "article",
    { className: "apimart-generation" },
    journey && h(Journey, { view }),
    h(
      "div",
      { className: "apimart-columns" },
      h(
        "div",
        { className: "apimart-main" },
        working && h(Progress, { view }),
        isAsking(view) && h(Question, { view }),
        !working && trouble && h(Trouble, { view, onCleared }),
        videos.length > 0 && h(Player, { videos, label: view.prompt }),
        h(Pictures, { pictures }),
        !working && !isAsking(view) && !trouble && videos.length === 0 && pictures.length === 0 && h(Notice, { title: t("noVideoYet") }, h("p", null, t("noVideoYetNext"))),
      ),
      h(
        "div",
        { className: "apimart-side" },
        // A task that works on a video may know no prompt, and a table has many.
        (view.prompt || !journey || !view.kind || view.kind === "generation") && [
          h("h3", { key: "title" }, t("prompt"), !journey && h(Outcome, { value: view.outcome })),
          h(Prompt, { key: "text", text: view.prompt, lines: 6 }),
        ],
        h(Summary, { view }),
        h(Decision, { approval: view.approval }),
        h(Posts, { posts: view.posts }),
        h(Check, { check: view.check }),
        view.state && !working && view.try_number > 1 && h("p", null, h(Badge, null, t("tries", { n: view.try_number }))),
        h(Details, { view }),
      ),
    ),
  );
}
