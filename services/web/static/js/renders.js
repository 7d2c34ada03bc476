// The list of renders: what is under way is looked at again while somebody sees it, and pictures that are missing give way.

import { load } from "./swap.js";

const EVERY_MS = 3000;

async function look() {
  const list = document.getElementById("found");
  if (document.hidden || !("underWay" in list.dataset) || list.getAttribute("aria-busy")) return;
  const address = location.href;
  const fresh = await load(address).catch(() => null);
  const found = fresh?.getElementById("found");
  if (!found || address !== location.href || !list.isConnected) return;
  keepPictures(list, found);
  const focused = list.contains(document.activeElement) ? document.activeElement.id : "";
  list.replaceWith(found);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// Pictures that are shown already are not loaded again.
function keepPictures(list, found) {
  const shown = new Map([...list.querySelectorAll("img")].map((picture) => [picture.dataset.first ?? picture.getAttribute("src"), picture]));
  for (const picture of found.querySelectorAll("img")) {
    const same = shown.get(picture.getAttribute("src"));
    if (same) picture.replaceWith(same);
  }
}

function giveWay(picture) {
  const { instead } = picture.dataset;
  if (!instead) return void picture.remove();
  picture.dataset.first = picture.getAttribute("src");
  delete picture.dataset.instead;
  picture.src = instead;
}

document.addEventListener("error", (event) => event.target.matches?.("#found img") && giveWay(event.target), true);
for (const picture of document.querySelectorAll("#found img")) if (picture.complete && !picture.naturalWidth && picture.loading !== "lazy") giveWay(picture);
setInterval(look, EVERY_MS);
document.addEventListener("visibilitychange", look);
