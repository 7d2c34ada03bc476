// What every page does: switching the theme, copying texts, and links and forms that change a part of it.
// No other module imports this one: it would run twice.

import { ready, swap } from "./swap.js";

const THEMES = ["light", "dark"];

function switchTheme() {
  const root = document.documentElement;
  const shown = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = THEMES[(THEMES.indexOf(shown) + 1) % THEMES.length];
  localStorage.setItem("forge-theme", root.dataset.theme);
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
    button.textContent = "Selected: press Ctrl-C";
  }
  setTimeout(() => (button.textContent = label), 2000);
}

function addressOf(form) {
  const fields = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...fields]) if (!value) fields.delete(name);
  const text = fields.toString();
  return form.getAttribute("action") + (text ? `?${text}` : "");
}

// Links and forms with data-swap="#part" change that part only. Without scripts they lead to their page.
let waiting;
document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-copy], [data-theme-switch], a[data-swap]");
  if (!control) return;
  if (control.dataset.copy) copy(control);
  else if ("themeSwitch" in control.dataset) switchTheme();
  else if (!event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    swap(control.getAttribute("href"), control.dataset.swap);
  }
});
document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-swap-on=input]");
  if (!form) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => swap(addressOf(form), form.dataset.swap), 150);
});
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-swap]");
  if (!form) return;
  event.preventDefault();
  clearTimeout(waiting);
  swap(addressOf(form), form.dataset.swap);
});
ready(document);
