// The tab "Video" of a task instance.

import { Notice, h, register } from "./kit.js";
import { Batch } from "./batch.js";
import { Generation, isWorking } from "./generation.js";
import { t } from "./language.js";
import { Loading, Problem } from "./parts.js";
import { appUrl, instancePath, useServer } from "./server.js";

const WORKING = 5_000;
// A person decides, or Airflow waits to retry: it may change any time, and nobody counts the seconds.
const WAITING = 15_000;
const RESTLESS = ["up_for_retry", "up_for_reschedule", "awaiting_input"];

function pace(view) {
  if (view.kind === "none") return 0;
  if (isWorking(view)) return WORKING;
  return view.state === null || RESTLESS.includes(view.state) ? WAITING : 0;
}

function VideoTab({ dagId, runId, taskId, mapIndex }) {
  const instance = { dag_id: dagId, run_id: runId, task_id: taskId, map_index: mapIndex ?? -1 };
  const { data: view, error, reload } = useServer(appUrl(`api/task/${instancePath(instance)}`), pace);
  if (view === null) return error ? h(Problem, { error, again: reload }) : h(Loading);
  if (view.kind === "none") return h(Notice, { title: t("notOurs") }, h("p", null, t("notOursNext")));
  // The tab's own address wins over what the answer says.
  const page = { view: { ...view, ...instance, map_index: Number(instance.map_index) }, onCleared: reload };
  return h(
    "div",
    null,
    error && h(Problem, { error, again: reload }),
    ["batch", "media_batch"].includes(view.kind) ? h(Batch, page) : h(Generation, page),
  );
}

register("Video", VideoTab);
