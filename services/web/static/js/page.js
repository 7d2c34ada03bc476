// What every page does: switching the theme, copying texts, and showing part of another page in place.

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

// Links and forms with data-swap="#part" fetch their page and put its part in place of this one's. Without scripts they lead there.
let asked = 0;
async function swap(address, selector) {
  const mine = ++asked;
  const region = document.querySelector(selector);
  region.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(address, { headers: { accept: "text/html" } });
    const found = new DOMParser().parseFromString(await response.text(), "text/html").querySelector(selector);
    if (mine !== asked) return;
    if (!response.ok || !found) return void (location.href = address);
    const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
    region.replaceWith(found);
    if (focused) document.getElementById(focused)?.focus();
    history.replaceState(null, "", address);
    ready(found);
    found.dispatchEvent(new CustomEvent("swapped", { bubbles: true }));
  } catch {
    region.removeAttribute("aria-busy");
  }
}

function addressOf(form) {
  const fields = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...fields]) if (!value) fields.delete(name);
  const text = fields.toString();
  return form.getAttribute("action") + (text ? `?${text}` : "");
}

// Controls that only work with scripts are hidden until there are some.
function ready(root) {
  for (const control of root.querySelectorAll("[data-copy], [data-theme-switch], [data-needs-script]")) control.hidden = false;
}

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
