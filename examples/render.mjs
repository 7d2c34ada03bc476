// Renders over REST with nothing but node: `node examples/render.mjs [request.json]`.
import { readFile, writeFile } from "node:fs/promises";

const SMALL = { model: "skywork-skyreels-v2", prompt: "a red square", width: 320, height: 192, num_frames: 17 };
const { FORGE_API_BASE: base, FORGE_API_KEY: key } = process.env;

async function ask(path, options = {}) {
  const headers = { authorization: `Bearer ${key}`, ...options.headers };
  const answer = await fetch(new URL(path, base), { ...options, headers });
  if (!answer.ok) throw new Error((await answer.json()).message);
  return answer;
}

/** The lines of an answer, as they come. */
async function* linesOf(answer) {
  let rest = "";
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    yield* lines.map((line) => line.trim()).filter(Boolean);
  }
  if (rest.trim()) yield rest.trim();
}

/** Events of a render as JSON lines: one event a line. */
async function* events(id) {
  for await (const line of linesOf(await ask(`/v1/renders/${id}/events`))) yield JSON.parse(line);
}

/** The same as server-sent events: one event a line that begins with `data:`. */
async function* sentEvents(id, afterSeq = 0) {
  const headers = { accept: "text/event-stream" };
  for await (const line of linesOf(await ask(`/v1/renders/${id}/events?after_seq=${afterSeq}`, { headers })))
    if (line.startsWith("data:")) yield JSON.parse(line.slice("data:".length));
}

const body = process.argv[2] ? await readFile(process.argv[2], "utf8") : JSON.stringify(SMALL);
const accepted = await ask("/v1/renders", { method: "POST", headers: { "content-type": "application/json" }, body });
const { id } = await accepted.json();

let last;
for await (const event of events(id)) {
  if (event.keep_alive) continue;
  last = event;
  console.error(`${Math.round(100 * event.progress.fraction)}% ${event.phase}`);
}
for await (const event of sentEvents(id, last.seq - 1)) console.error(`the last event was number ${event.seq}`);
if (last.status !== "succeeded") throw new Error(`${id} ${last.status}`);

const video = await ask(`/v1/renders/${id}/video`);
await writeFile(`${id}.mp4`, new Uint8Array(await video.arrayBuffer()));
console.log(`${id}.mp4`);
