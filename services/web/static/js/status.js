// The fleet's page looks again every 5 seconds while somebody can see it, unless they hold it.

import { refresh } from "./swap.js";

const PERIOD_MS = 5_000;
const note = document.getElementById("refreshing");
const pause = document.getElementById("pause");
let isPaused = false;
let isLooking = false;
let lookedAt = Date.now();

async function look() {
  if (isPaused || isLooking || document.hidden || isReading()) return;
  isLooking = true;
  lookedAt = Date.now();
  const isShown = await refresh(location.pathname + location.search, "#now");
  isLooking = false;
  note.textContent = isShown ? "Refreshes every 5 s" : "Not refreshed: the platform does not answer";
  note.toggleAttribute("data-lost", !isShown);
}

// Whoever has marked some of it wants to copy that.
function isReading() {
  const selection = getSelection();
  return !selection.isCollapsed && document.getElementById("now").contains(selection.anchorNode);
}

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  note.textContent = isPaused ? "Paused" : "Refreshes every 5 s";
  look();
});
document.addEventListener("visibilitychange", () => Date.now() - lookedAt >= PERIOD_MS && look());
setInterval(look, PERIOD_MS);
