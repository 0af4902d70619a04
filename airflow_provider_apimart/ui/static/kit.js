// What all pages are made of: Airflow's React, the elements that look like Airflow's own, and the way a page is handed
// to Airflow. There is no build step: these files are ES modules, served as they are.
//
// Where Airflow shares Chakra UI (3.2 on), buttons and fields are Chakra's. On 3.1 they are plain elements that
// style.css dresses in the same design tokens. A page that throws shows a notice in its own place and leaves Airflow's
// page alone. Nothing here, or in any other file, turns text into HTML.

import { t } from "./language.js";

const React = globalThis.React;
const chakra = globalThis.ChakraUI;

export const h = React.createElement;
export const { useCallback, useEffect, useId, useMemo, useRef, useState } = React;

/** Join class names, leaving out what is not there. */
export function names(...parts) {
  return parts.filter(Boolean).join(" ");
}

// `kind` is "main" (the one thing to do here), "danger" or "plain".
export function Button({ kind = "plain", children, ...props }) {
  const attributes = { type: "button", ...props };
  if (!chakra?.Button) {
    return h("button", { ...attributes, className: names("apimart-button", `apimart-button-${kind}`) }, children);
  }
  const palette = { main: "brand", danger: "red", plain: "gray" }[kind];
  const variant = kind === "plain" ? "outline" : "solid";
  return h(chakra.Button, { ...attributes, size: "sm", variant, colorPalette: palette }, children);
}

const TONES = { good: "green", bad: "red", wait: "orange", busy: "blue", calm: "gray" };

export function Badge({ tone = "calm", children }) {
  if (!chakra?.Badge) return h("span", { className: `apimart-badge apimart-tone-${tone}` }, children);
  return h(chakra.Badge, { colorPalette: TONES[tone], variant: "subtle", size: "md" }, children);
}

// A field with its label; `hidden` keeps the label for screen readers alone.
export function Field({ label, hidden = false, children }) {
  return h(
    "label",
    { className: "apimart-field" },
    h("span", { className: hidden ? "apimart-unseen" : "apimart-label" }, label),
    children,
  );
}

export function Input(props) {
  if (!chakra?.Input) return h("input", { ...props, className: "apimart-input" });
  return h(chakra.Input, { ...props, size: "sm" });
}

// `options` are [value, text] pairs.
export function Select({ options, ...props }) {
  const choices = options.map(([value, text]) => h("option", { key: value, value }, text));
  if (!chakra?.NativeSelect) return h("select", { ...props, className: "apimart-input" }, choices);
  return h(
    chakra.NativeSelect.Root,
    { size: "sm" },
    h(chakra.NativeSelect.Field, props, choices),
    h(chakra.NativeSelect.Indicator),
  );
}

// A message in a frame. It is announced when it appears: at once if it is bad news.
export function Notice({ tone = "calm", title, children, actions }) {
  return h(
    "section",
    { className: `apimart-notice apimart-tone-${tone}`, role: tone === "bad" ? "alert" : "status" },
    h("h3", { className: "apimart-notice-title" }, title),
    children,
    actions && h("div", { className: "apimart-actions" }, actions),
  );
}

/** A link inside Airflow, without loading its page anew where the router is shared. */
export function PageLink({ to, children, ...props }) {
  const router = globalThis.ReactRouterDOM;
  if (router?.Link) return h(router.Link, { to, ...props }, children);
  return h("a", { href: new URL(to.replace(/^\//, ""), document.baseURI).pathname, ...props }, children);
}

/** A link out of Airflow; what is not a web address stays text. */
export function OutLink({ href, children }) {
  let url = null;
  try {
    url = new URL(href);
  } catch {
    // Not an address: text.
  }
  if (url === null || !["https:", "http:"].includes(url.protocol)) return h("span", null, children);
  return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer", className: "apimart-link" }, children);
}

class Boundary extends React.Component {
  constructor(props) {
    super(props);
    this.state = { error: null };
  }

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    console.error("APIMart: this page could not be shown.", error);
  }

  render() {
    const { error } = this.state;
    if (error === null) return this.props.children;
    return h(
      Notice,
      {
        tone: "bad",
        title: t("pageBroken"),
        actions: h(Button, { onClick: () => this.setState({ error: null }) }, t("tryAgain")),
      },
      h("p", null, t("pageBrokenWhy")),
      h("p", { className: "apimart-code" }, String(error?.message ?? error)),
    );
  }
}

// Below this many pixels a page is scrolled rather than squeezed.
const NARROWEST = 320;

// Airflow's page around a tab does not get narrower than its own header. What lies outside the window could not be
// seen, so the page ends where the window ends.
function Frame({ children }) {
  const box = useRef(null);
  useEffect(() => {
    const fit = () => {
      const room = Math.floor(document.documentElement.clientWidth - box.current.getBoundingClientRect().left);
      box.current.style.maxWidth = `${Math.max(room, NARROWEST)}px`;
    };
    fit();
    globalThis.addEventListener("resize", fit);
    return () => globalThis.removeEventListener("resize", fit);
  }, []);
  return h("div", { ref: box, className: "apimart" }, children);
}

function addStyleSheet() {
  const href = new URL("./style.css", import.meta.url).href;
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}

/**
 * Hand a page to Airflow, which looks for it under the name of the plugin's entry and, the first time, in
 * `AirflowPlugin`.
 */
export function register(name, Page) {
  addStyleSheet();
  // The key: another task, another page, and nothing of the last one's state or error is left.
  const Mounted = (props) =>
    h(
      Frame,
      null,
      h(
        Boundary,
        { key: JSON.stringify([props.dagId, props.runId, props.taskId, props.mapIndex]) },
        h(Page, props),
      ),
    );
  globalThis[name] = Mounted;
  globalThis.AirflowPlugin = Mounted;
}
