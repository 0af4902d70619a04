// The button to try again. It clears the task through Airflow's REST API, so Airflow decides who may, and says before
// whether that costs money.

import { Button, h, useEffect, useId, useRef, useState } from "./kit.js";
import { money, t } from "./language.js";
import { airflow } from "./server.js";

function request(view, dryRun) {
  const mapped = Number(view.map_index) >= 0;
  return airflow("POST", `dags/${encodeURIComponent(view.dag_id)}/clearTaskInstances`, {
    dry_run: dryRun,
    dag_run_id: view.run_id,
    task_ids: [mapped ? [view.task_id, Number(view.map_index)] : view.task_id],
    // What comes after and did not run because of this; what succeeded stays.
    include_downstream: true,
    only_failed: true,
    reset_dag_runs: true,
  });
}

function costs(clear) {
  if (clear?.pays === true) {
    return typeof clear.usd === "number" ? t("clearPaysAbout", { usd: money(clear.usd) }) : t("clearPays");
  }
  return t(clear?.pays === false ? "clearIsFree" : "clearMayPay");
}

function Confirmation({ view, others, onClose, onCleared }) {
  const dialog = useRef(null);
  const title = useId();
  const words = useId();
  const [state, setState] = useState({ busy: false, error: null });
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  const clear = async () => {
    setState({ busy: true, error: null });
    try {
      await request(view, false);
      onCleared();
    } catch (error) {
      setState({ busy: false, error });
    }
  };
  const refused = state.error?.status === 403 ? t("clearForbidden") : state.error && t("clearFailed", { why: state.error.message });
  return h(
    "dialog",
    { ref: dialog, className: "apimart-dialog", "aria-labelledby": title, "aria-describedby": words, onClose },
    h("h2", { id: title }, t("clearTitle")),
    h(
      "div",
      { id: words },
      h("p", { className: view.clear?.pays === false ? "" : "apimart-strong" }, costs(view.clear)),
      others > 0 && h("p", null, t("clearOthers", { n: others })),
    ),
    h("p", { role: "alert", className: "apimart-error" }, refused),
    h(
      "div",
      { className: "apimart-actions" },
      h(Button, { onClick: () => dialog.current.close() }, t("cancel")),
      h(
        Button,
        { kind: view.clear?.pays === false ? "main" : "danger", disabled: state.busy, onClick: clear },
        t(view.clear?.pays === false ? "clearNow" : "clearNowPaying"),
      ),
    ),
  );
}

/**
 * The button, for who may clear this task: a dry run, which changes nothing, asks Airflow.
 */
export function ClearButton({ view, onCleared }) {
  const [others, setOthers] = useState(null);
  const [open, setOpen] = useState(false);
  const { dag_id, run_id, task_id, map_index, try_number } = view;
  useEffect(() => {
    let current = true;
    setOthers(null);
    request({ dag_id, run_id, task_id, map_index }, true).then(
      (answer) => {
        const mine = (ti) => ti.task_id === task_id && (ti.map_index ?? -1) === Number(map_index ?? -1);
        if (current) setOthers((answer.task_instances ?? []).filter((ti) => !mine(ti)).length);
      },
      () => {}, // No right to clear, or nobody to ask: no button.
    );
    return () => {
      current = false;
    };
  }, [dag_id, run_id, task_id, map_index, try_number]);
  if (others === null) return null;
  return h(
    "div",
    null,
    h(Button, { kind: "main", onClick: () => setOpen(true) }, t("clear")),
    open &&
      h(Confirmation, {
        view,
        others,
        onClose: () => setOpen(false),
        onCleared: () => {
          setOpen(false);
          onCleared();
        },
      }),
  );
}
