// The playground: a body from the form, its estimate as it changes, and a render from the first step to the video.

import { api } from "./api.js";
import { follow, isOver, progressText } from "./following.js";
import { load } from "./swap.js";
import { element, dollars, gib, milliseconds, seconds, share, target } from "./words.js";

const ESTIMATE_AFTER_MS = 350;
const MAX_IMAGE_BYTES = 12 * 1024 * 1024;
const MAX_SIDE_PX = 8192;
const MAX_ESTIMATED_IMAGE = 1_000_000; // characters; the estimate of a larger picture is asked with the example's

export function startPlayground(form, { isSignedIn }) {
  const slug = form.dataset.slug;
  const images = new Map();
  const examples = new Map();
  for (const field of form.querySelectorAll("[data-kind=image]")) {
    const value = field.querySelector("template[data-value]").content.textContent;
    examples.set(field.dataset.field, value);
    images.set(field.dataset.field, value);
    takeImages(field, (uri) => {
      images.set(field.dataset.field, uri);
      changed();
    });
  }

  // The body as the form says it: what is empty is left out, and what is no number is sent as it stands, to be refused by name.
  function body() {
    const made = { model: slug, model_version: form.dataset.version };
    for (const field of form.querySelectorAll("[data-field]")) {
      const { field: name, kind } = field.dataset;
      const control = field.querySelector("input, textarea, select");
      if (kind === "image") {
        if (images.get(name)) made[name] = images.get(name);
      } else if (kind === "switch") made[name] = control.checked;
      else if (control.value !== "") made[name] = "number" in control.dataset ? number(control.value) : control.value;
    }
    for (const control of form.querySelectorAll("[data-run]")) {
      const name = control.dataset.run;
      if (name === "target") {
        const [gpuType, region] = control.value.split("@");
        if (gpuType) Object.assign(made, { gpu_type: gpuType, region });
      } else if (control.value !== "") made[name] = "number" in control.dataset ? number(control.value) : control.value;
    }
    return made;
  }

  function showWrong(violations, message = "") {
    for (const line of form.querySelectorAll(".wrong")) line.hidden = true;
    for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
    const elsewhere = [];
    for (const { field, description } of violations) {
      const line = document.getElementById(`wrong-${field.split(/[.[]/)[0]}`);
      if (!line) {
        elsewhere.push(`${field}: ${description}`);
        continue;
      }
      line.textContent = line.hidden ? description : `${line.textContent}; ${description}`;
      line.hidden = false;
      const control = line.parentElement.querySelector("input, textarea, select");
      control?.setAttribute("aria-invalid", "true");
      line.closest("details")?.setAttribute("open", "");
    }
    const whole = document.getElementById("wrong-form");
    whole.textContent = elsewhere.length ? elsewhere.join("; ") : violations.length ? "" : message;
    whole.hidden = !whole.textContent;
  }

  // --- the estimate
  const estimate = document.getElementById("estimate");
  let waiting;
  let asked = 0;
  function changed() {
    clearTimeout(waiting);
    if (isSignedIn) waiting = setTimeout(askEstimate, ESTIMATE_AFTER_MS);
  }
  async function askEstimate() {
    const mine = ++asked;
    const wanted = body();
    for (const [name, uri] of images) if (uri.length > MAX_ESTIMATED_IMAGE) wanted[name] = examples.get(name);
    estimate.setAttribute("aria-busy", "true");
    try {
      const found = await api("POST", `/v1/models/${encodeURIComponent(slug)}/run-estimate`, wanted);
      if (mine !== asked) return;
      showWrong([]);
      estimate.replaceChildren(...estimateParts(found));
    } catch (error) {
      if (mine !== asked) return;
      showWrong(error.violations ?? [], error.message);
      estimate.replaceChildren(element("p", { class: "hint" }, error.violations?.length ? "No estimate until the inputs are right." : error.message));
    } finally {
      if (mine === asked) estimate.removeAttribute("aria-busy");
    }
  }

  // --- the render
  const output = document.getElementById("output");
  const run = document.getElementById("run");
  let shown;
  async function start() {
    run.disabled = true;
    try {
      const render = await api("POST", "/v1/renders", { ...body(), request_id: newId() });
      showWrong([]);
      show(render);
      refreshHistory();
    } catch (error) {
      showWrong(error.violations ?? [], error.message);
      form.querySelector("[aria-invalid]")?.focus();
    } finally {
      run.disabled = false;
    }
  }
  function show(render) {
    shown?.close();
    shown = renderView(output, render, refreshHistory);
  }
  async function refreshHistory() {
    const fresh = await load(`/models/${encodeURIComponent(slug)}/history`).catch(() => null); // what is shown stays
    if (fresh) document.getElementById("history").replaceChildren(...fresh.body.childNodes);
  }

  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!("readOnly" in form.dataset)) start();
  });
  document.getElementById("to-example").addEventListener("click", () => {
    form.reset();
    for (const [name, value] of examples) {
      images.set(name, value);
      const preview = form.querySelector(`[data-field="${CSS.escape(name)}"] [data-preview]`);
      preview.src = preview.dataset.example ?? preview.src;
    }
    showWrong([]);
    changed();
  });

  // After a reload the newest render that is under way goes on being shown.
  const going = [...document.querySelectorAll("#history [data-render]")].find(
    ({ dataset }) => !isOver(dataset.status) && dataset.status !== "paused",
  );
  if (going) api("GET", `/v1/renders/${going.dataset.render}`).then(show, () => {});
}

function number(text) {
  const value = Number(text.trim().replace(",", "."));
  return text.trim() !== "" && Number.isFinite(value) ? value : text;
}

// randomUUID exists on secure origins only; an installation on a local network is none.
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function estimateParts(found) {
  const best = found.selected_target;
  const fact = (name, value, more) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value, more ? element("small", {}, more) : null));
  const cold = best.estimated_first_cold_request_cost_usd;
  const parts = [
    element(
      "dl",
      { class: "facts" },
      fact("Time, warm", seconds(best.request_seconds_p50), `nine of ten within ${seconds(best.request_seconds_p90)}`),
      fact("Cost, warm", dollars(best.estimated_warm_request_cost_usd), cold == null ? "" : `${dollars(cold)} with a cold start of ${milliseconds(best.cold_start_ms)}`),
      fact("Idle tail", dollars(best.idle_tail_cost_usd), `if nothing follows for ${seconds(best.idle_tail_seconds)}`),
      best.peak_allocated_gib == null ? null : fact("Memory", gib(best.peak_allocated_gib), `${gib(best.peak_reserved_gib)} reserved`),
      fact("Where", target(best), found.explanation),
    ),
  ];
  const notes = [...(best.caveats ?? []), ...(found.warnings ?? [])];
  if (best.calibration?.sample_count) {
    notes.push(`lately estimates here were off by ${share(best.calibration.median_absolute_error)} in the median of ${best.calibration.sample_count}`);
  }
  if (notes.length) parts.push(element("ul", { class: "hint" }, ...notes.map((note) => element("li", {}, note))));
  if (found.targets.length > 1) parts.push(ranking(found.targets));
  return parts;
}

function ranking(targets) {
  const heads = ["Target", "p50", "p90", "Warm", "Rests on"];
  const rows = targets.map((each) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, target(each)),
      ...[seconds(each.request_seconds_p50), seconds(each.request_seconds_p90), dollars(each.estimated_warm_request_cost_usd), each.basis].map(
        (text) => element("td", {}, text),
      ),
    ),
  );
  const table = element(
    "table",
    { class: "ranked" },
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows),
  );
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Estimates of all targets" }, table);
  return element("details", {}, element("summary", {}, `All ${targets.length} targets, cheapest first`), scroll);
}

// A render while it is made: its progress, what can be seen of it already, and in the end its video and receipt.
function renderView(place, render, onChange) {
  const address = `/v1/renders/${render.id}`;
  const status = element("p", { role: "status" }, "");
  const bar = element("progress", { max: "1", value: "0", "aria-label": "Work done" });
  const text = element("p", { class: "hint" });
  const stage = element("div", { class: "stage" });
  const actions = element("div", { class: "actions" });
  const cancel = element("button", { type: "button" }, "Cancel");
  const facts = element("div");
  actions.append(cancel, element("a", { class: "button", href: `/renders/${render.id}` }, "Everything about this render"));
  place.replaceChildren(status, bar, text, stage, actions, facts);

  cancel.addEventListener("click", async () => {
    cancel.disabled = true;
    try {
      await api("POST", `${address}/cancel`);
    } catch (error) {
      text.textContent = error.message;
      cancel.disabled = false;
    }
  });

  let video;
  let said = "";
  function update(event) {
    if (said !== event.status) {
      said = event.status;
      status.replaceChildren(element("span", { class: `chip is-${event.status}` }, event.status), ` ${render.id}`);
    }
    bar.value = event.status === "succeeded" ? 1 : (event.progress?.fraction ?? 0);
    const progress = progressText(event);
    const message = event.message && !progress.includes(event.message) ? event.message : "";
    text.textContent = [progress, event.target ? target(event.target) : "", message].filter(Boolean).join(" · ");
    if (event.progress?.playable_seconds != null && !video && !isOver(event.status)) {
      video = element("video", { controls: true, muted: true, autoplay: true, playsinline: true, src: `${address}/video`, "aria-label": "The frames that are finished" });
      video.muted = true;
      stage.replaceChildren(video);
    } else if (event.preview_url && !video) {
      const picture = stage.querySelector("img") ?? stage.appendChild(element("img", { class: "preview", alt: "Preview of the video as it is now" }));
      picture.src = event.preview_url;
    }
  }

  async function end() {
    cancel.remove();
    let final;
    try {
      final = await api("GET", address);
    } catch (error) {
      text.textContent = error.message;
      return;
    }
    update({ ...final, message: "" });
    if (final.output) {
      const { output } = final;
      stage.replaceChildren(
        element("video", { controls: true, loop: true, playsinline: true, src: output.video_url, "aria-label": "The finished video", preload: "auto" }),
      );
      actions.prepend(element("a", { class: "button primary", href: `${output.video_url}?download=1`, download: `${final.slug}-${final.id}.mp4` }, "Download"));
      facts.append(element("p", { class: "hint" }, `${output.num_frames} frames ${output.width}×${output.height} at ${output.fps} fps, ${(output.size_bytes / 1000).toFixed(1)} kB`));
    } else {
      // What was playable was of an attempt that made no video.
      if (video) stage.replaceChildren();
    }
    if (final.error) facts.append(element("p", { class: "wrong" }, `${final.error.message}${final.error.retry ? " Trying again may help." : ""}`));
    for (const warning of final.warnings ?? []) facts.append(element("p", { class: "hint" }, warning));
    facts.append(...receipt(final));
    onChange();
  }

  update(render);
  if (isOver(render.status)) {
    end();
    return { close() {} };
  }
  return follow(render.id, {
    afterSeq: 0,
    onEvent: update,
    onEnd: end,
    onLost: () => (text.textContent = "The connection broke; the render goes on. Connecting again …"),
  });
}

function receipt(render) {
  if (!render.gpu_seconds) return [];
  const cost = render.actual_cost_usd == null ? "no price is known" : dollars(render.actual_cost_usd);
  const expected = render.estimated_gpu_seconds == null ? "" : ` Expected were ${seconds(render.estimated_gpu_seconds)} and ${dollars(render.estimated_cost_usd)}.`;
  return [element("p", {}, element("strong", {}, "Receipt: "), `${seconds(render.gpu_seconds)} of device time, ${cost}.${expected} `, element("a", { href: `/renders/${render.id}#receipt` }, "Line by line"))];
}

function takeImages(field, onImage) {
  const drop = field.querySelector("[data-drop]");
  const preview = field.querySelector("[data-preview]");
  const chooser = field.querySelector("input[type=file]");
  const wrong = field.querySelector(".wrong");
  preview.dataset.example = preview.getAttribute("src") ?? "";
  const types = chooser.accept.split(",");

  async function take(file) {
    wrong.hidden = true;
    try {
      if (!types.includes(file.type)) throw new Error(`must be one of ${types.join(", ")}, not ${file.type || "a file of unknown type"}`);
      if (file.size > MAX_IMAGE_BYTES) throw new Error(`must have at most ${MAX_IMAGE_BYTES / 2 ** 20} MiB`);
      const uri = await dataUri(file);
      if (file.type !== "image/x-portable-pixmap") {
        const { width, height } = await sizeOf(uri);
        if (Math.max(width, height) > MAX_SIDE_PX) throw new Error(`must have at most ${MAX_SIDE_PX} px a side; it has ${width}×${height}`);
        preview.src = uri;
        preview.classList.toggle("is-large", width > 64);
        preview.hidden = false;
      } else preview.hidden = true; // browsers do not show it; it is sent all the same
      onImage(uri);
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
    }
  }

  chooser.addEventListener("change", () => chooser.files[0] && take(chooser.files[0]));
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("is-over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("is-over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("is-over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => types.includes(each.type));
    if (file) take(file);
  });
}

const dataUri = (file) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Error("cannot be read"));
    reader.readAsDataURL(file);
  });

const sizeOf = (uri) =>
  new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => failed(new Error("is not a picture that can be read"));
    image.src = uri;
  });
