// Many generations at once: cards with a picture, and a window to watch one.

import { Button, PageLink, h, useEffect, useId, useRef, useState } from "./kit.js";
import { Generation } from "./generation.js";
import { moment, money, t, word } from "./language.js";
import { Outcome } from "./parts.js";
import { Thumb } from "./player.js";
import { taskPage } from "./server.js";

/** What a generation is called in a list. */
export function title(view) {
  return view.label || view.row || (Number(view.map_index) >= 0 ? `${view.task_id} [${view.map_index}]` : view.task_id);
}

export function keyOf(view) {
  return JSON.stringify([view.dag_id, view.run_id, view.task_id, view.map_index, view.row, view.generation_id]);
}

function Viewer({ view, onClose }) {
  const dialog = useRef(null);
  const heading = useId();
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  return h(
    "dialog",
    { ref: dialog, className: "apimart-dialog apimart-viewer", "aria-labelledby": heading, onClose },
    h(
      "header",
      { className: "apimart-viewer-head" },
      h("h2", { id: heading, dir: "auto" }, title(view)),
      h(
        "div",
        { className: "apimart-actions" },
        h(PageLink, { to: taskPage(view), className: "apimart-link" }, t("openTask")),
        h(Button, { onClick: () => dialog.current.close() }, t("close")),
      ),
    ),
    h(Generation, { view, journey: false }),
  );
}

function Card({ view, onOpen, where }) {
  return h(
    "li",
    { className: "apimart-card" },
    h(
      "button",
      { type: "button", className: "apimart-card-button", onClick: onOpen },
      h(Thumb, { video: view.videos?.[0] }),
      h(
        "span",
        { className: "apimart-card-head" },
        h("span", { className: "apimart-card-title", dir: "auto" }, title(view)),
        h(Outcome, { value: view.outcome }),
      ),
      h("span", { className: "apimart-card-prompt", dir: "auto" }, view.prompt || t("noPrompt")),
      h(
        "span",
        { className: "apimart-card-foot" },
        h("span", null, typeof view.cost_usd === "number" ? money(view.cost_usd) : ""),
        h("span", null, view.submitted_at ? moment(view.submitted_at) : ""),
        view.videos?.length > 1 && h("span", null, t("videosMade", { n: view.videos.length })),
        view.check && h("span", null, `${t("check")}: ${word("verdict", view.check.verdict)}`),
      ),
      where && h("span", { className: "apimart-card-where", dir: "auto" }, view.dag_id),
    ),
  );
}

/** The cards; `where` shows the Dag on each. */
export function Cards({ views, where = false }) {
  const [open, setOpen] = useState(null);
  return h(
    "div",
    null,
    h(
      "ul",
      { className: "apimart-cards" },
      views.map((view) => h(Card, { key: keyOf(view), view, where, onOpen: () => setOpen(view) })),
    ),
    open && h(Viewer, { key: keyOf(open), view: open, onClose: () => setOpen(null) }),
  );
}
