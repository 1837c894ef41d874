// What the page shows, from what the stream tells.

import { paint } from "./draw.js";
import { Spark } from "./spark.js";
import { Stream } from "./stream.js";

const $ = (id) => document.getElementById(id);
const TONES = { live: "good", working: "good", connecting: "wait", lost: "bad", ended: "" };
const WORDS = {
  live: "live",
  working: "working",
  connecting: "connecting…",
  lost: "lost, trying again…",
  ended: "ended",
};

const sparks = Object.fromEntries(["people", "fps", "latency", "age"].map((name) => [name, new Spark($(`${name}-spark`))]));
const shown = { source: null, version: null, status: null, notice: "", link: "", pictureOf: null, saidAt: 0 };

// The cookie has the token now; it need not stay in the address and the history.
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname);

const stream = new Stream("api/live");

stream.addEventListener("state", ({ detail }) => {
  shown.link = detail.notice;
  if (detail.tone !== "good") link(detail.tone, detail.text);
  notice();
});

stream.addEventListener("news", ({ detail }) => {
  const { status, history } = detail;
  if (shown.version !== null && shown.version !== status.version) location.reload(); // its page may be another one
  shown.version = status.version;
  shown.status = status;
  if (history) {
    ["fps", "latency", "age", "people"].forEach((name, i) => sparks[name].set(history.map((sample) => sample[i])));
  }
  numbers(status);
  lists(status);
  tabs(status.sources);
  notice();
});

stream.addEventListener("picture", ({ detail: { header, bitmap } }) => {
  if (header.source !== shown.source) return;
  const [width, height] = header.size_wh;
  $("figure").style.setProperty("--ratio", width / height);
  paint($("canvas"), bitmap, header);
  shown.pictureOf = header.source;
  const people = count(header.people.length, "person", "people");
  $("badge").textContent = people;
  $("badge").hidden = false;
  if (Date.now() - shown.saidAt > 2000) {
    shown.saidAt = Date.now();
    $("canvas").setAttribute("aria-label", `Live picture of ${header.source}: ${people}`);
  }
  if (!$("notice").hidden) notice();
});

function link(tone, text) {
  set($("link"), text);
  $("link").dataset.tone = tone;
}

function numbers(status) {
  const { latency_ms: latency, age_ms: age, temperature_c: temperature } = status;
  set($("network"), [status.network, status.precision.toUpperCase(), status.device].join(" · "));
  value("people", status.people);
  value("fps", status.fps.toFixed(1));
  value("latency", ...time(latency?.p50));
  value("age", ...time(age?.p50));
  set($("latency-more"), spread(latency));
  set($("age-more"), spread(age));
  const taken = status.sources.reduce((sum, source) => sum + source.frames, 0);
  const dropped = status.sources.reduce((sum, source) => sum + source.dropped, 0);
  value("dropped", dropped.toLocaleString("en"));
  set($("dropped-more"), `${((100 * dropped) / Math.max(taken, 1)).toFixed(1)} % of ${taken.toLocaleString("en")}`);
  value("temperature", temperature === null ? "–" : temperature.toFixed(0), temperature === null ? "" : "°C");
  set($("temperature-more"), temperature === null ? "no sensor here" : "of the chip");
  sparks.people.add(status.people);
  sparks.fps.add(status.fps);
  sparks.latency.add(latency?.p50 ?? null);
  sparks.age.add(age?.p50 ?? null);
  set($("foot"), `jetpose ${status.version} · up ${duration(status.uptime_s)} · ${status.frames.toLocaleString("en")} frames`);
  const lost = status.sources.filter((source) => source.state === "lost").length;
  if (!status.alive) link("bad", "Stuck");
  else if (lost) link("bad", lost === 1 ? "A source is lost" : `${lost} sources are lost`);
  else if (status.sources.some(({ state }) => state === "live")) link("good", "Live");
  else link("wait", status.sources.some(({ state }) => state === "connecting") ? "Connecting…" : "No source");
}

function lists(status) {
  fill(
    $("sources"),
    status.sources.map((source) => ({
      ...source,
      more: [
        source.address,
        source.size_wh && `${source.size_wh[0]} × ${source.size_wh[1]}`,
        source.format,
        `${source.fps.toFixed(1)} fps`,
        source.dropped && `${source.dropped.toLocaleString("en")} dropped`,
        source.reconnects && count(source.reconnects, "reconnect", "reconnects"),
      ],
    })),
    "No source is configured.",
  );
  fill(
    $("sinks"),
    status.sinks.map((sink) => ({
      ...sink,
      more: [`${sink.written.toLocaleString("en")} written`, sink.dropped && `${sink.dropped.toLocaleString("en")} dropped`],
    })),
    "None but this page.",
  );
}

function fill(list, entries, empty) {
  const items = entries.map(({ name, state, error, more }) => {
    const item = document.createElement("li");
    const row = add(item, "div", "row");
    add(row, "span", "name", name);
    add(row, "span", "state", WORDS[state]).dataset.tone = TONES[state];
    add(item, "p", "more", more.filter(Boolean).join(" · "));
    if (error && state !== "live" && state !== "working") add(item, "p", "error", error);
    return item;
  });
  if (items.length === 0) {
    const item = document.createElement("li");
    add(item, "p", "more", empty);
    items.push(item);
  }
  list.replaceChildren(...items);
}

// One tab per source; arrow keys go from one to the next.
function tabs(sources) {
  const names = sources.map((source) => source.name);
  if (!names.includes(shown.source)) choose(names[0] ?? null);
  const bar = $("tabs");
  bar.hidden = names.length < 2;
  if (names.join("\n") !== [...bar.children].map((tab) => tab.textContent).join("\n")) {
    bar.replaceChildren(...names.map(makeTab));
  }
  [...bar.children].forEach((tab, i) => {
    const { name, state } = sources[i];
    tab.dataset.tone = TONES[state];
    tab.setAttribute("aria-selected", name === shown.source);
    tab.setAttribute("aria-label", `${name}, ${WORDS[state]}`);
    tab.tabIndex = name === shown.source ? 0 : -1;
  });
}

function makeTab(name) {
  const tab = document.createElement("button");
  tab.textContent = name;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", "figure");
  tab.addEventListener("click", () => pick(name));
  tab.addEventListener("keydown", (event) => {
    const next = { ArrowRight: tab.nextSibling, ArrowLeft: tab.previousSibling }[event.key];
    if (next) {
      next.focus();
      pick(next.textContent);
    }
  });
  return tab;
}

function pick(name) {
  choose(name);
  if (shown.status) tabs(shown.status.sources);
}

function choose(name) {
  shown.source = name;
  shown.pictureOf = null;
  $("badge").hidden = true;
  const canvas = $("canvas");
  canvas.getContext("2d", { alpha: false }).clearRect(0, 0, canvas.width, canvas.height);
  canvas.setAttribute("aria-label", "No picture yet");
  stream.watch(name);
  notice();
}

// What stands over the picture: why there is none, or why it stands still.
function notice() {
  const text = shown.link || trouble();
  const hasPicture = shown.pictureOf !== null && shown.pictureOf === shown.source;
  set($("notice"), text);
  $("notice").hidden = text === "";
  $("figure").classList.toggle("stale", text !== "" && hasPicture);
}

function trouble() {
  if (shown.status === null) return "Waiting for jetpose…";
  const source = shown.status.sources.find(({ name }) => name === shown.source);
  if (!source) return "No source is configured.";
  if (source.state === "lost") return `${source.name} is lost. Trying again…\n${source.error ?? ""}`.trim();
  if (source.state === "ended") return `${source.name} has ended.`;
  if (!shown.status.alive) return "jetpose is stuck: a frame takes too long.";
  if (source.state === "connecting") return `Connecting to ${source.name}…\n${source.error ?? ""}`.trim();
  return shown.pictureOf === null ? `Waiting for the first frame of ${source.name}…` : "";
}

function value(id, text, unit = "") {
  const element = $(id);
  set(element, `${text}`);
  if (unit) add(element, "small", "", unit);
}

function time(ms) {
  if (ms === undefined) return ["–"];
  return ms < 1000 ? [ms.toFixed(ms < 10 ? 1 : 0), "ms"] : [(ms / 1000).toFixed(1), "s"];
}

function spread(times) {
  return times ? `p95 ${times.p95.toFixed(0)} · max ${times.max.toFixed(0)} ms` : "";
}

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function add(parent, tag, kind, text = "") {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = text;
  return parent.appendChild(element);
}

// Only what changed: a screen reader reads it again otherwise.
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
