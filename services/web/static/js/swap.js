// Showing part of another page in place.

let asked = 0;

// Fetches the page at `address` and puts its part `selector` in place of this page's. Leads there where that does not work.
export async function swap(address, selector) {
  const mine = ++asked;
  const region = document.querySelector(selector);
  region.setAttribute("aria-busy", "true");
  try {
    const found = (await load(address))?.querySelector(selector);
    if (mine !== asked) return;
    if (!found) return void (location.href = address);
    put(region, found);
    history.replaceState(null, "", address);
  } catch {
    region.removeAttribute("aria-busy"); // the platform does not answer: what is shown stays
  }
}

// The same without touching the address: for parts that change by themselves. Returns whether it was shown.
export async function refresh(address, selector) {
  try {
    const found = (await load(address))?.querySelector(selector);
    const region = document.querySelector(selector);
    if (!found || !region) return false;
    put(region, found);
    return true;
  } catch {
    return false;
  }
}

// What only works with scripts is hidden until there are some.
export function ready(root) {
  const controls = "[data-copy], [data-theme-switch], [data-needs-script]";
  for (const control of root.querySelectorAll(controls)) control.hidden = false;
}

// The page at `address` as a document; null where it is refused. Throws where the platform does not answer.
export async function load(address) {
  const response = await fetch(address, { headers: { accept: "text/html" } });
  return response.ok ? new DOMParser().parseFromString(await response.text(), "text/html") : null;
}

function put(region, found) {
  const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
  region.replaceWith(found);
  ready(found);
  if (focused) document.getElementById(focused)?.focus();
  found.dispatchEvent(new CustomEvent("swapped", { bubbles: true }));
}
