// The pictures that a task has made: posters, previews, frames, contact sheets.

import { h, useState } from "./kit.js";
import { number, t, word } from "./language.js";
import { Copyable } from "./parts.js";
import { appUrl } from "./server.js";

/** `contact_sheet_2` is the second contact sheet. */
function caption(name) {
  const [, kind, count] = /^(.*?)(?:_(\d+))?$/.exec(name);
  return count ? `${word("picture", kind)} ${number(Number(count))}` : word("picture", kind);
}

function Picture({ picture }) {
  const [gone, setGone] = useState(false);
  const url = appUrl(picture.url);
  const shown = caption(picture.name);
  return h(
    "figure",
    { className: "apimart-picture" },
    url !== null && !gone
      ? h(
          "a",
          { href: url, target: "_blank", rel: "noopener noreferrer" },
          h("img", { src: url, alt: shown, loading: "lazy", onError: () => setGone(true) }),
        )
      : h("p", { className: "apimart-muted" }, t("pictureGone")),
    h(
      "figcaption",
      null,
      h("span", null, shown, picture.width && picture.height ? ` · ${picture.width} × ${picture.height}` : ""),
      h(Copyable, { label: shown, value: picture.path }),
    ),
  );
}

export function Pictures({ pictures, title }) {
  if (!pictures?.length) return null;
  return h(
    "section",
    { className: "apimart-part" },
    h("h3", null, title ?? t("pictures")),
    h("div", { className: "apimart-pictures" }, pictures.map((picture) => h(Picture, { key: picture.url, picture }))),
  );
}
