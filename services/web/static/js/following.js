// Following a render while it is made: its events as they happen, and how far it is in words.

const OVER = new Set(["succeeded", "failed", "canceled", "expired"]);
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const DOING = {
  starting: "starting a runtime",
  encoding: "encoding the inputs",
  denoising: "denoising",
  decoding: "decoding frames",
  muxing: "compressing the video",
  storing: "storing the video",
};
const ENDED = { succeeded: "done", failed: "failed", canceled: "canceled", expired: "expired", canceling: "stopping" };

// Whether a render with this status never moves again.
export function isOver(status) {
  return OVER.has(status);
}

// Calls `onEvent(event)` for each event after `afterSeq`, once and in order, also when the connection broke in between.
// `onEnd(event)` follows the event that ends or pauses the render; nothing is followed any more then. `onLost()` is called
// when the connection broke: a new one is tried after a while, until `close()`.
export function follow(renderId, { afterSeq = 0, onEvent, onEnd, onLost } = {}) {
  let seen = afterSeq;
  let source;
  let waiting;
  let waitMs = FIRST_WAIT_MS;
  let isClosed = false;

  function close() {
    isClosed = true;
    clearTimeout(waiting);
    source?.close();
    document.removeEventListener("visibilitychange", connectNow);
  }

  // A source would connect again by itself, but from where it began: events carry their number in their data only.
  function connect() {
    clearTimeout(waiting);
    waiting = undefined;
    source = new EventSource(`/v1/renders/${encodeURIComponent(renderId)}/events?after_seq=${seen}`);
    source.onmessage = (message) => take(JSON.parse(message.data));
    source.onerror = () => {
      source.close();
      if (isClosed) return;
      onLost?.();
      waiting = setTimeout(connect, waitMs);
      waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
    };
  }

  function connectNow() {
    if (waiting !== undefined && !document.hidden) connect();
  }

  function take(event) {
    waitMs = FIRST_WAIT_MS;
    if (isClosed || event.seq === undefined || event.keep_alive || event.seq <= seen) return;
    seen = event.seq;
    const isLast = isOver(event.status) || event.status === "paused";
    if (isLast) close();
    onEvent?.(event);
    if (isLast) onEnd?.(event);
  }

  document.addEventListener("visibilitychange", connectNow);
  connect();
  return { close };
}

// How far a render is: "step 12 of 40 · 0.8–1.2 min left". Takes an event or a render.
export function progressText({ status, phase, progress = {} }) {
  const { done_steps: done = 0, total_steps: total = 0, queue_position: place } = progress;
  if (ENDED[status]) return ENDED[status];
  if (status === "paused") return total ? `paused after step ${done} of ${total}` : "paused";
  const parts = [];
  if (phase === "queued") parts.push(place === undefined ? "waits" : place === 1 ? "next in the queue" : `place ${place} in the queue`);
  else if (phase === "denoising" && total) parts.push(`step ${done} of ${total}`);
  else parts.push(DOING[phase] ?? phase);
  const left = timeLeft(progress.eta_seconds_p50, progress.eta_seconds_p90);
  if (left) parts.push(left);
  return parts.join(" · ");
}

// A time between p50 and p90 in seconds: "8–11 s left", "0.8–1.2 min left", "1.2 h left"; empty when unknown.
export function timeLeft(p50, p90) {
  if (p50 === undefined && p90 === undefined) return "";
  const least = p50 ?? p90;
  const most = Math.max(least, p90 ?? least);
  if (most < 1) return "less than 1 s left";
  const [size, unit, digits] = most < 90 ? [1, "s", most < 10 ? 1 : 0] : most < 5400 ? [60, "min", 1] : [3600, "h", 1];
  const [low, high] = [least, most].map((value) => (value / size).toFixed(digits));
  return `${low === high ? low : `${low}–${high}`} ${unit} left`;
}
