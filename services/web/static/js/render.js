// The page of one render: follows it while it is made, and does what its buttons say.

import { api } from "./api.js";
import { follow, isOver, progressText } from "./following.js";
import { load, ready } from "./swap.js";
import { share } from "./words.js";

const REFRESH_MS = 400;
const LIVE_EVENTS_OF_A_PHASE = 4;
const LINK_SECONDS = 86_400;
const MOST_PLAYS = 3;

const root = document.getElementById("render");
const renderId = root.dataset.render;
const path = `/v1/renders/${encodeURIComponent(renderId)}`;
const title = document.title;
const byId = (id) => document.getElementById(id);
const make = (name, properties) => Object.assign(document.createElement(name), properties);
const wantsMotion = matchMedia("(prefers-reduced-motion: no-preference)").matches;

let now = { status: root.dataset.status, phase: root.dataset.phase, attempt: Number(root.dataset.attempt) };
let newest; // the newest event that came while the page was open
let following;
let refreshing;
let isFrameChosen = false;
let plays = 0;

// Events

function start(afterSeq) {
  following?.close();
  following = follow(renderId, {
    afterSeq,
    onEvent: take,
    onEnd: (event) => event.status === "paused" && start(event.seq),
    onLost: () => (byId("lost").hidden = false),
  });
}

function take(event) {
  byId("lost").hidden = true;
  const isTurn = ["status", "phase", "attempt"].some((name) => now[name] !== event[name]);
  if (now.status !== event.status) say(event);
  if (now.attempt !== event.attempt) stop();
  now = { status: event.status, phase: event.phase, attempt: event.attempt };
  newest = event;
  show(event);
  log(event);
  if (event.preview_url) see(event);
  if (event.progress.playable_seconds && event.status === "running") play();
  if (isTurn) refreshSoon();
}

function say(event) {
  byId("said").textContent = `${event.status}${event.error ? `: ${event.error.message}` : ""}`;
  const chip = make("span", { className: `chip is-${event.status}`, textContent: event.status });
  byId("status").replaceChildren(chip);
}

function show(event) {
  const { fraction = 0, playable_seconds: playable } = event.progress;
  byId("progress-text").textContent = progressText(event);
  byId("progress").value = fraction;
  const shares = isOver(event.status) ? [] : [`${share(fraction)} of the work`];
  if (playable && !isOver(event.status)) shares.push(`${playable.toFixed(1)} s can be played`);
  byId("share").textContent = shares.join(" · ");
  document.title = isOver(event.status) ? title.replace(/· [a-z]+ ·/, `· ${event.status} ·`) : `${progressText(event)} · ${title}`;
}

// Of a phase that goes on, the newest lines stay: those before come back, folded, with the next refresh.
function log(event) {
  const list = byId("events");
  if (!list) return;
  const line = byId("event-line").content.firstElementChild.cloneNode(true);
  const what = event.phase === event.status || event.phase === "done" ? event.status : `${event.status} · ${event.phase}`;
  line.dataset.live = `${event.attempt} ${what}`;
  line.querySelector(".event-seq").textContent = event.seq;
  line.querySelector("time").textContent = event.at.slice(11, 23).replace("Z", "");
  line.querySelector(".event-what").textContent = what;
  line.querySelector(".event-text").textContent = event.message;
  list.append(line);
  const same = [...list.children].filter((child) => child.dataset.live === line.dataset.live);
  if (same.length > LIVE_EVENTS_OF_A_PHASE) same[1].remove();
}

// Pictures

function see(event) {
  const strip = byId("strip");
  const known = [...strip.querySelectorAll("[data-frame]")].some((link) => link.getAttribute("href") === event.preview_url);
  if (known) return;
  const { done_steps: done, total_steps: total } = event.progress;
  const text = total ? `step ${done} of ${total}` : event.phase;
  if (strip.lastElementChild?.textContent.trim() === text) strip.lastElementChild.remove();
  const link = make("a", { href: event.preview_url });
  link.dataset.frame = "";
  link.append(make("img", { src: event.preview_url, alt: "", width: 96, height: 54 }));
  link.append(make("span", { textContent: text }));
  const item = make("li", {});
  item.append(link);
  strip.append(item);
  strip.hidden = false;
  strip.scrollLeft = strip.scrollWidth;
  if (!isFrameChosen && !byId("video")) put(event.preview_url, `Newest preview: ${text}`);
}

// Shows a picture as soon as it is there, so that nothing flickers.
function put(address, alt) {
  const loaded = make("img", { id: "preview", alt });
  loaded.onload = () => {
    byId("preview")?.remove();
    byId("no-picture")?.remove();
    byId("screen").append(loaded);
  };
  loaded.src = address;
}

// Shows what can be played of a video that still grows. One that breaks off gives way to the previews.
function play() {
  if (byId("video") || plays >= MOST_PLAYS) return;
  plays += 1;
  const video = make("video", { id: "video", controls: true, muted: true, playsInline: true, autoplay: wantsMotion });
  video.setAttribute("aria-label", "The frames made so far");
  video.onerror = () => {
    if (video.isConnected) stop();
  };
  video.onloadeddata = () => {
    byId("no-picture")?.remove();
    if (!isFrameChosen) byId("preview")?.remove();
    video.hidden = isFrameChosen;
  };
  video.hidden = true;
  video.src = `${path}/video`;
  byId("screen").append(video);
}

function stop() {
  byId("video")?.remove();
  if (!byId("preview")) seeNewest();
}

function seeNewest() {
  const last = byId("strip").querySelector("li:last-child [data-frame]");
  if (last) put(last.getAttribute("href"), `Newest preview: ${last.textContent.trim()}`);
}

function choose(link) {
  const isSame = link.getAttribute("aria-current") === "true";
  for (const other of byId("strip").querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
  const video = byId("video");
  isFrameChosen = !isSame;
  if (isFrameChosen) link.setAttribute("aria-current", "true");
  if (video) {
    video.hidden = isFrameChosen;
    if (isFrameChosen) video.pause();
  }
  if (isFrameChosen) put(link.getAttribute("href"), `Preview: ${link.textContent.trim()}`);
  else if (video) byId("preview")?.remove();
  else seeNewest();
}

// Parts of the page as the server has them now

function refreshSoon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(refresh, REFRESH_MS);
}

async function refresh() {
  const fresh = await load(location.pathname).catch(() => null);
  const found = fresh?.getElementById("render");
  if (!found) return;
  const isEnd = isOver(found.dataset.status);
  for (const part of found.querySelectorAll("[data-part]")) {
    if (part.id === "picture" && !isEnd) continue;
    if (part.id === "doings" && part.dataset.of === byId("doings").dataset.of) continue; // it may be in use
    if (part.id === "log" && newest && Number(found.dataset.seq) < newest.seq) {
      refreshSoon();
      continue;
    }
    if (part.id === "picture") whenStill(() => replace(part));
    else replace(part);
  }
  if (newest && !isEnd && Number(found.dataset.seq) < newest.seq) show(newest);
}

// The part is made anew in this document: a video would not load in the one it was parsed in.
function replace(parsed) {
  const part = document.importNode(parsed, true);
  const old = byId(part.id);
  const open = [...old.querySelectorAll("details[open][id]")].map((details) => details.id);
  const focused = old.contains(document.activeElement) ? document.activeElement.id : null;
  old.replaceWith(part);
  for (const id of open) byId(id)?.setAttribute("open", "");
  ready(part);
  if (focused === null) return;
  const next = (focused && byId(focused)) || byId("main");
  next.focus({ preventScroll: true });
}

// Whoever watches the first frames sees them to their end before the finished video takes their place.
function whenStill(then) {
  const video = byId("video");
  if (!video || video.paused || video.ended || video.error) {
    isFrameChosen = false;
    then();
    return;
  }
  const once = () => {
    video.removeEventListener("pause", once);
    video.removeEventListener("ended", once);
    video.removeEventListener("error", once);
    whenStill(then);
  };
  for (const name of ["pause", "ended", "error"]) video.addEventListener(name, once);
}

// What can be done

async function act(what, form) {
  const wrong = byId("went-wrong");
  const buttons = [...byId("doings").querySelectorAll("button")];
  wrong.textContent = "";
  if (what === "delete" && !confirm("Delete this render with its inputs, video and previews? What it cost stays in the usage.")) return;
  let body;
  try {
    body = bodyOf(what, form);
  } catch (error) {
    wrong.textContent = error.message;
    form?.querySelector("[name=input]")?.focus();
    return;
  }
  for (const button of buttons) button.disabled = true;
  try {
    if (what === "delete") {
      await api("DELETE", path);
      return void (location.href = "/renders");
    }
    const render = await api("POST", `${path}/${what}`, body);
    if (render.id !== renderId) return void (location.href = `/renders/${encodeURIComponent(render.id)}`);
    refreshSoon();
  } catch (error) {
    const listed = error.violations.map(({ field, description }) => `${field} ${description}`).join("; ");
    wrong.textContent = listed ? `${listed}.` : error.message;
  }
  for (const button of buttons) button.disabled = false;
}

function bodyOf(what, form) {
  if (what === "cancel" || what === "delete") return undefined;
  if (!form) return {};
  const fields = new FormData(form);
  if (what === "continue") return { pause_after_step: Number(fields.get("pause_after_step")) };
  const changes = changesIn(fields.get("input").trim());
  const prompt = fields.get("prompt").trim();
  if (prompt) changes.prompt = prompt;
  if (!Object.keys(changes).length) throw new Error("Say what changes: a prompt, or other inputs.");
  return changes;
}

function changesIn(text) {
  if (!text) return {};
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new Error(`The other inputs are no JSON: ${error.message}.`);
  }
  if (typeof found !== "object" || found === null || Array.isArray(found)) throw new Error('The other inputs are to be an object, as in {"guidance_scale": 5}.');
  return found;
}

async function copyLink(button) {
  const note = byId("link-note");
  button.disabled = true;
  try {
    const link = await api("POST", `${path}/video-links`, { ttl_seconds: LINK_SECONDS });
    const address = new URL(link.url, location.href).href;
    const until = new Date(link.expires_at).toLocaleString();
    try {
      await navigator.clipboard.writeText(address);
      note.textContent = `Copied. Whoever has it can fetch the video until ${until}.`;
    } catch {
      note.replaceChildren(make("a", { href: address, textContent: "The link" }), ` works for everybody until ${until}.`);
    }
  } catch (error) {
    note.textContent = error.message;
  }
  button.disabled = false;
}

document.addEventListener("click", (event) => {
  const control = event.target.closest("button[data-do], [data-link], a[data-frame]");
  if (!control) return;
  if (control.dataset.do) act(control.dataset.do);
  else if ("link" in control.dataset) copyLink(control);
  else if (!event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    choose(control);
  }
});
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-do]");
  if (!form) return;
  event.preventDefault();
  act(form.dataset.do, form);
});
// A picture that was not kept leaves no hole.
document.addEventListener("error", (event) => event.target.closest?.("#strip li")?.remove(), true);

if (!isOver(now.status)) start(Number(root.dataset.seq));
