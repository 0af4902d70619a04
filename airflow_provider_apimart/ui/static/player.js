// Watching: the player with all samples of a generation, and the still pictures of lists.
//
// A list never opens more than a few videos: a picture comes from the poster, or else from the first frame, drawn once
// and let go, so that neither the browser nor the server holds a stream for it.

import { Button, Notice, h, names, useEffect, useRef, useState } from "./kit.js";
import { duration, t } from "./language.js";
import { appUrl } from "./server.js";

const FRAMES_AT_ONCE = 2;
const FRAME_SECONDS = 20;
let drawing = 0;
const waiting = [];

function takeTurn(job) {
  waiting.push(job);
  nextTurn();
}

function nextTurn() {
  while (drawing < FRAMES_AT_ONCE && waiting.length > 0) {
    drawing += 1;
    waiting.shift()(() => {
      drawing -= 1;
      nextTurn();
    });
  }
}

/** Draw the first frame of the video into the canvas; the function returned gives up. */
function drawFrame(canvas, source, done) {
  let stopped = false;
  let giveUp = null;
  takeTurn((free) => {
    if (stopped) return free();
    const video = document.createElement("video");
    const end = (drawn) => {
      if (giveUp === null) return;
      giveUp = null;
      clearTimeout(timer);
      if (drawn) {
        canvas.width = video.videoWidth;
        canvas.height = video.videoHeight;
        canvas.getContext("2d").drawImage(video, 0, 0);
      }
      video.removeAttribute("src");
      video.load();
      free();
      if (!stopped) done(drawn);
    };
    giveUp = () => end(false);
    const timer = setTimeout(giveUp, FRAME_SECONDS * 1000);
    video.muted = true;
    video.preload = "auto";
    video.addEventListener("loadeddata", () => end(video.videoWidth > 0));
    video.addEventListener("error", () => end(false));
    video.src = source;
    return undefined;
  });
  return () => {
    stopped = true;
    giveUp?.();
  };
}

/** The picture of a video in a list. It is decoration: what it shows is said by the text beside it. */
export function Thumb({ video }) {
  const box = useRef(null);
  const canvas = useRef(null);
  const [near, setNear] = useState(false);
  const [noPoster, setNoPoster] = useState(false);
  const [drawn, setDrawn] = useState(false);
  const poster = noPoster ? null : appUrl(video?.poster_url);
  const source = appUrl(video?.video_url);
  useEffect(() => {
    const watch = new IntersectionObserver(([entry]) => setNear(entry.isIntersecting), { rootMargin: "200px" });
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (!near || drawn || poster !== null || source === null) return undefined;
    return drawFrame(canvas.current, source, setDrawn);
  }, [near, drawn, poster, source]);
  let picture = null;
  if (poster !== null) {
    picture = h("img", { src: poster, alt: "", loading: "lazy", onError: () => setNoPoster(true) });
  } else if (source !== null) {
    picture = h("canvas", { ref: canvas, className: names(!drawn && "apimart-hidden") });
  }
  return h(
    "div",
    { ref: box, className: "apimart-thumb", "aria-hidden": true },
    picture,
    poster === null && !drawn && h("span", { className: "apimart-thumb-none" }, source === null ? "–" : "▶"),
    typeof video?.duration_seconds === "number" &&
      h("span", { className: "apimart-thumb-length" }, duration(video.duration_seconds)),
  );
}

// Why a video does not play is not told by the element, but by the route behind it.
async function reason(source) {
  try {
    const answer = await fetch(source, { headers: { Range: "bytes=0-0" }, credentials: "same-origin" });
    answer.body?.cancel();
    if (answer.ok) return "unplayable";
    return { 401: "loggedOut", 403: "forbidden", 404: "fileGone", 410: "fileGone", 503: "streamsBusy" }[answer.status];
  } catch {
    return "offline";
  }
}

/** The poster's address, once it is known that there is one: a missing one would leave the player black. */
function usePoster(path) {
  const [poster, setPoster] = useState(null);
  const url = appUrl(path);
  useEffect(() => {
    setPoster(null);
    if (url === null) return undefined;
    const image = new Image();
    image.onload = () => setPoster(url);
    image.src = url;
    return () => {
      image.onload = null;
    };
  }, [url]);
  return poster;
}

function Screen({ video, label }) {
  const poster = usePoster(video.poster_url);
  const [problem, setProblem] = useState(null);
  const [round, setRound] = useState(0);
  const source = appUrl(video.video_url);
  if (source === null) {
    return h(Notice, { title: t("notStored") }, h("p", null, t("notStoredNext")));
  }
  if (problem !== null) {
    const again = () => {
      setProblem(null);
      setRound(round + 1);
    };
    const actions = h(Button, { onClick: again }, t("tryAgain"));
    return h(Notice, { tone: "bad", title: t(problem), actions }, h("p", null, t(`${problem}Next`)));
  }
  return h("video", {
    key: round,
    className: "apimart-screen",
    src: source,
    poster: poster ?? undefined,
    controls: true,
    playsInline: true,
    preload: "metadata",
    "aria-label": label,
    onError: async () => setProblem((await reason(source)) ?? "serverTrouble"),
  });
}

/** The player; with several samples, a strip to choose from below it. */
export function Player({ videos, label }) {
  const [at, setAt] = useState(0);
  const video = videos[at] ?? videos[0];
  if (!video) return null;
  // Takes are counted; renditions, and the rows of a sheet, have names.
  const called = (sample, index) => sample.name || t("sample", { n: index + 1, of: videos.length });
  const choice = (sample, index) =>
    h(
      "button",
      {
        key: sample.n ?? index,
        type: "button",
        className: names("apimart-sample", sample === video && "apimart-sample-on"),
        "aria-pressed": sample === video,
        "aria-label": called(sample, index),
        title: called(sample, index),
        onClick: () => setAt(index),
      },
      h(Thumb, { video: sample }),
      h("span", { className: "apimart-sample-name", dir: "auto", "aria-hidden": true }, sample.name || index + 1),
    );
  return h(
    "div",
    { className: "apimart-player" },
    h(
      "div",
      { className: "apimart-stage" },
      h(Screen, { key: video.video_url, video, label: label ? `${t("video")}: ${label.slice(0, 120)}` : t("video") }),
    ),
    videos.length > 1 &&
      h("div", { className: "apimart-samples", role: "group", "aria-label": t("samples") }, videos.map(choice)),
  );
}
