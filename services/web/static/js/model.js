// The model page: the way to a first request, run in place; the runtime as it changes; the playground.

import { api } from "./api.js";
import { startPlayground } from "./playground.js";
import { load, ready } from "./swap.js";
import { dollars, element, milliseconds, target } from "./words.js";

// What the answer of a step comes to, in a sentence.
const SAID = {
  verify: (found) => {
    const free = found.targets.reduce((sum, each) => sum + each.free_slots, 0);
    return `Key, model, version and target are good. ${free} free of ${found.targets.length} target${found.targets.length === 1 ? "" : "s"}.`;
  },
  validate: (found) => {
    const best = [["fastest", found.fastest_supported_target], ["cheapest", found.lowest_cost_supported_target]];
    const named = best.filter(([, row]) => row).map(([word, row]) => `${word} ${target(row)}`);
    return `${found.reliability_status}: ${found.supported_rows} of ${found.total_rows} verified${named.length ? `; ${named.join(", ")}` : ""}.`;
  },
  estimate: (found) => {
    const best = found.selected_target;
    const cold = found.estimated_first_cold_request_cost_usd;
    return `${milliseconds(best.request_ms)} and ${dollars(found.estimated_warm_request_cost_usd)} warm${cold == null ? "" : `, ${dollars(cold)} cold`} on ${target(best)} (${best.basis}).`;
  },
  check: (found) => `${found.version} is ${found.status}${found.runtimes.length ? `: ${found.runtimes.map((each) => `${target(each)} ${each.status}`).join(", ")}` : ""}.`,
  prewarm: (found) =>
    `${found.was_cold_start ? "Started" : "Was warm already"} on ${target(found)}, start took ${milliseconds(found.startup_ms)}.`,
};

async function runStep(button) {
  const { step, method, path, body } = button.dataset;
  const answer = document.getElementById(`answer-${step}`);
  button.disabled = true;
  answer.replaceChildren(element("p", { class: "hint" }, step === "prewarm" ? "Starting: the runtime panel shows how far it is …" : "Asking …"));
  try {
    const found = await api(method, path, body === undefined ? undefined : JSON.parse(body));
    const text = element("pre", { tabindex: "0", role: "region", "aria-label": `Answer of ${step}` }, JSON.stringify(found, null, 2));
    answer.replaceChildren(
      element("p", { class: "said" }, `✓ ${SAID[step](found)}`),
      element("details", {}, element("summary", {}, "The whole answer"), text),
    );
  } catch (error) {
    answer.replaceChildren(element("p", { class: "wrong" }, `✗ ${error.message}`));
  } finally {
    button.disabled = false;
  }
}

// The runtime panel is what the server says it is, asked for again when the stream of the family says that something changed.
function watchRuntime(panel) {
  const { runtime: slug, version, partial } = panel.dataset;
  let isAsking = false;
  let isStale = false;

  async function show() {
    isStale = true;
    if (isAsking) return;
    isAsking = true;
    while (isStale) {
      isStale = false;
      const fresh = await load(partial).catch(() => null); // the next change, or the next sign of life, asks again
      if (fresh) replace(panel, fresh.body.childNodes);
      await new Promise((done) => setTimeout(done, 400));
    }
    isAsking = false;
  }

  const query = version ? `?version=${encodeURIComponent(version)}` : "";
  const source = new EventSource(`/v1/model-families/${encodeURIComponent(slug)}/events${query}`);
  let isFirst = true;
  source.onmessage = () => {
    if (!isFirst) show();
    isFirst = false;
  };
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  return show;
}

// New contents, but what was said stays, and so does the focus.
function replace(panel, contents) {
  const said = panel.querySelector("#runtime-said")?.textContent ?? "";
  const focused = panel.contains(document.activeElement) ? document.activeElement.id : "";
  panel.replaceChildren(...contents);
  const line = panel.querySelector("#runtime-said");
  if (line) line.textContent = said;
  ready(panel);
  if (focused) document.getElementById(focused)?.focus();
}

async function callRuntime(panel, call, show) {
  const { runtime: slug, version } = panel.dataset;
  const pin = new URLSearchParams(location.search);
  const body = { version, gpu_type: pin.get("gpu_type") ?? "", region: pin.get("region") ?? "" };
  if (call !== "stop") body.run_until_stopped = call === "keep";
  const say = (text) => {
    const line = panel.querySelector("#runtime-said");
    if (line) line.textContent = text;
  };
  say(call === "stop" ? "Stopping …" : "Starting …");
  try {
    const found = await api("POST", `/v1/model-families/${encodeURIComponent(slug)}/${call === "stop" ? "stop" : "start"}`, body);
    if (call === "stop") say(found.stopped_runtimes === 1 ? "Stopped." : `Stopped ${found.stopped_runtimes} runtimes.`);
    else say(SAID.prewarm(found));
  } catch (error) {
    say(error.message);
  }
  await show();
}

// Measures the version on a target on purpose; it waits for a device that nobody uses.
async function probe(button) {
  const [gpuType, region] = button.dataset.probe.split("@");
  const form = document.getElementById("inputs");
  button.disabled = true;
  let said;
  try {
    const { probes } = await api("POST", "/v1/probes", {
      slug: form.dataset.slug,
      model_version: form.dataset.version,
      gpu_type: gpuType,
      region,
    });
    said = probes.map((each) => `Probe of ${target(each.target)}: ${each.status}${each.message ? `, ${each.message}` : ""}.`).join(" ");
  } catch (error) {
    said = error.message;
  }
  button.disabled = false;
  document.getElementById("probe-said").textContent = said;
}

const panel = document.querySelector("[data-runtime]");
const isSignedIn = document.querySelector('form[action="/sign-out"]') !== null;
const show = isSignedIn ? watchRuntime(panel) : () => {};
document.addEventListener("click", (event) => {
  const step = event.target.closest("[data-step]");
  if (step) runStep(step);
  const probed = event.target.closest("[data-probe]");
  if (probed) probe(probed);
  const call = event.target.closest("[data-runtime-call]");
  if (call) callRuntime(panel, call.dataset.runtimeCall, show);
});
startPlayground(document.getElementById("inputs"), { isSignedIn });
