// Making, rotating and revoking API keys. A secret is in the page only from its making until it has been kept.

import { api } from "./api.js";
import { refresh } from "./swap.js";

const byId = (id) => document.getElementById(id);
const FIELDS = { name: "key-name", scopes: "key-scopes", ttl: "key-ttl", rate_limit: "key-rate" };
let replaced; // the key whose successor's secret shows

// Making

async function make(form) {
  clear();
  const fields = new FormData(form);
  const [ttl, rate] = [byId("key-ttl"), byId("key-rate")];
  if (ttl.validity.badInput) return wrong("ttl", "must be a number");
  if (rate.validity.badInput) return wrong("rate_limit", "must be a number");
  const key = { name: fields.get("name").trim(), scopes: fields.getAll("scopes") };
  if (!key.scopes.length) return wrong("scopes", "choose at least one");
  if (ttl.value) key.ttl = duration(Number(ttl.value) * Number(fields.get("unit")));
  if (rate.value) key.rate_limit = { requests_per_second: Number(rate.value) };
  await held(form, async () => {
    const made = await api("POST", "/v1/api-keys", key);
    form.reset();
    show(made, `The key ${made.api_key.name}`);
  });
}

async function rotate(button) {
  clear();
  const { rotate: id, name } = button.dataset;
  await held(button, async () => {
    const made = await api("POST", `/v1/api-keys/${encodeURIComponent(id)}/rotate`, {});
    const { prefix, expires_at: until } = made.replaced;
    show(made, `A new key ${name}`, { id, name, prefix, until, isOwn: "own" in button.dataset });
  });
}

function duration(seconds) {
  return `${Number.isFinite(seconds) ? seconds.toFixed(3).replace(/\.?0+$/, "") : 0}s`;
}

function show(made, title, old) {
  replaced = old;
  byId("new-secret-title").textContent = title;
  byId("secret-text").textContent = made.secret;
  byId("rotated").hidden = byId("revoke-old").hidden = !old;
  byId("rotated-own").hidden = !old?.isOwn;
  byId("rotated-until").dateTime = old?.until ?? "";
  byId("rotated-until").textContent = old ? `${old.until.slice(0, 16).replace("T", " ")} UTC` : "";
  byId("new-secret").hidden = false;
  byId("new-secret").focus();
  list();
}

function forget() {
  replaced = undefined;
  if (!byId("new-secret")) return;
  byId("secret-text").textContent = "";
  byId("new-secret").hidden = true;
}

// Revoking

function confirmRevoking(key) {
  clear();
  const dialog = byId("revoke");
  dialog.querySelector("[data-revoke-name]").textContent = key.name;
  dialog.querySelector("[data-revoke-prefix]").textContent = `${key.prefix}…`;
  dialog.querySelector("[data-revoke-own]").hidden = !key.isOwn;
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "revoke" && revoke(key);
  dialog.showModal();
}

async function revoke(key) {
  const button = byId(`revoke-${key.id}`);
  await held(button, async () => {
    await api("DELETE", `/v1/api-keys/${encodeURIComponent(key.id)}`);
    if (replaced?.id === key.id) {
      replaced = undefined;
      byId("revoke-old").hidden = byId("rotated").hidden = true;
    }
    say(`${key.name} is revoked.`);
    if (key.isOwn && byId("new-secret").hidden) return void (location.href = "/sign-in?next=%2Faccount");
    if (!key.isOwn) await list();
    byId("keys-news").focus();
  });
}

// What shows

async function list() {
  const isShown = await refresh(location.pathname + location.search, "#keys");
  if (!isShown) fail("The table could not be refreshed: load the page again.");
}

// Runs `work` while its button or form cannot be used a second time; what goes wrong is said where it belongs.
async function held(control, work) {
  const buttons = control?.matches("form") ? [...control.querySelectorAll("button")] : [control].filter(Boolean);
  for (const button of buttons) button.disabled = true;
  try {
    await work();
  } catch (error) {
    if (error.status === 401) return void (location.href = "/sign-in?next=%2Faccount");
    const left = error.violations?.filter(({ field, description }) => !wrong(field, description)) ?? [];
    if (left.length || !error.violations?.length) fail(error.message);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

// Says what is wrong with a field of the form; false when the form has no such field.
function wrong(field, description) {
  const id = FIELDS[field.replace(/[.[].*$/, "")];
  const form = byId("make-key");
  if (!id || !form) return false;
  const note = byId(`${id}-wrong`);
  note.textContent = note.hidden ? description : `${note.textContent}; ${description}`;
  note.hidden = false;
  const input = byId(id) ?? form.querySelector("[name=scopes]");
  input.setAttribute("aria-invalid", "true");
  if (!form.querySelector("[data-wrong]")) input.focus();
  input.dataset.wrong = "";
  return true;
}

function fail(message) {
  byId("keys-wrong").textContent = message;
  byId("keys-wrong").hidden = false;
}

function say(message) {
  byId("keys-news").textContent = message;
}

function clear() {
  say("");
  byId("keys-wrong").hidden = true;
  for (const note of document.querySelectorAll("#make-key .wrong")) note.hidden = true;
  for (const input of document.querySelectorAll("#make-key [aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    delete input.dataset.wrong;
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.id !== "make-key") return;
  event.preventDefault();
  make(event.target);
});
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-rotate], [data-revoke], #secret-kept, #revoke-old");
  if (!button) return;
  if (button.id === "secret-kept") {
    forget();
    byId("keys-title").focus();
  } else if (button.id === "revoke-old") confirmRevoking(replaced);
  else if (button.dataset.rotate) rotate(button);
  else confirmRevoking({ id: button.dataset.revoke, name: button.dataset.name, prefix: button.dataset.prefix, isOwn: "own" in button.dataset });
});
addEventListener("pagehide", forget); // a page that comes back from the browser's own cache shows no secret
