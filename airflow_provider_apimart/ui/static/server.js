// Talking to the two servers of a page, which are one: the provider's routes and Airflow's REST API. Both take the
// session cookie, so Airflow decides what this user may see and do.

import { useCallback, useEffect, useRef, useState } from "./kit.js";

// This file lies in <prefix>/apimart/static/.
const APP = new URL("../", import.meta.url);
const API = new URL("api/v2/", document.baseURI);
const SECOND = 1000;
const SLOWEST = 60 * SECOND;

/** An answer that is no success. `status` is 0 where there was no answer. */
export class ServerError extends Error {
  constructor(status, detail) {
    super(detail || `HTTP ${status}`);
    this.status = status;
  }
}

/** The address of one of the provider's own routes; null for anything that would lead elsewhere. */
export function appUrl(path, query) {
  if (!path) return null;
  let url;
  try {
    url = new URL(path, APP);
  } catch {
    return null;
  }
  if (url.origin !== APP.origin || !url.pathname.startsWith(APP.pathname)) return null;
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url.href;
}

/** The path of a task instance, each part encoded: run ids hold "+" and ":". */
export function instancePath({ dag_id, run_id, task_id, map_index }) {
  return [dag_id, run_id, task_id, map_index ?? -1].map((part) => encodeURIComponent(part)).join("/");
}

/** The page of a task instance in Airflow, with this plugin's tab open, or another one. */
export function taskPage({ dag_id, run_id, task_id, map_index }, tab = "plugin/apimart-video") {
  const mapped = Number(map_index) >= 0 ? `/mapped/${map_index}` : "";
  const [dag, run, task] = [dag_id, run_id, task_id].map((part) => encodeURIComponent(part));
  return `/dags/${dag}/runs/${run}/tasks/${task}${mapped}/${tab}`;
}

async function ask(url, options) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, error.message);
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const detail = body?.detail;
  throw new ServerError(answer.status, typeof detail === "string" ? detail : detail ? JSON.stringify(detail) : "");
}

export function get(url, signal) {
  return ask(url, { signal, headers: { Accept: "application/json" } });
}

/** Call Airflow's own REST API. */
export function airflow(method, path, body, signal) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  return ask(new URL(path, API).href, { method, headers, signal, body: JSON.stringify(body) });
}

/**
 * Load `url`, and again every `every(data)` milliseconds (0: no more). A hidden page asks for nothing; shown again, it
 * asks at once. Errors are asked about again ever more slowly, and what was loaded before stays.
 */
export function useServer(url, every = () => 0) {
  const [state, setState] = useState({ url: null, data: null, error: null });
  const pace = useRef(every);
  pace.current = every;
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (url === null) return undefined;
    const control = new AbortController();
    let timer;
    let failures = 0;
    let asked = false;
    const plan = (wait) => {
      clearTimeout(timer);
      if (wait > 0) timer = setTimeout(load, wait);
    };
    async function load() {
      if (asked || document.hidden) return;
      asked = true;
      try {
        const data = await get(url, control.signal);
        failures = 0;
        setState({ url, data, error: null });
        plan(pace.current(data));
      } catch (error) {
        if (control.signal.aborted) return;
        failures += 1;
        setState((old) => ({ url, data: old.url === url ? old.data : null, error }));
        const final = error.status >= 400 && error.status < 500 && error.status !== 429;
        plan(final ? 0 : Math.min(SLOWEST, 5 * SECOND * 2 ** (failures - 1)));
      } finally {
        asked = false;
      }
    }
    const wake = () => !document.hidden && load();
    document.addEventListener("visibilitychange", wake);
    load();
    return () => {
      control.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake);
    };
  }, [url, round]);
  const reload = useCallback(() => setRound((n) => n + 1), []);
  // What belongs to another address is not shown under this one.
  const mine = state.url === url;
  return { data: mine ? state.data : null, error: mine ? state.error : null, last: state.data, reload };
}
