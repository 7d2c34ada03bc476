// Finding in the API reference: what has all of the words stays.

const input = document.getElementById("find");
const count = document.getElementById("found-count");
const entries = [...document.querySelectorAll("[data-entry]")].map((element) => ({ element, text: element.textContent.toLowerCase() }));
const groups = [...document.querySelectorAll("[data-group]")];
const total = count.textContent;

function find() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = { call: 0, message: 0, reason: 0 };
  for (const { element, text } of entries) {
    element.hidden = !words.every((word) => text.includes(word));
    if (!element.hidden) found[element.dataset.entry] += 1;
  }
  for (const group of groups) group.hidden = words.length > 0 && !group.querySelector("[data-entry]:not([hidden])");
  count.textContent = words.length ? `${named(found.call, "call")}, ${named(found.message, "message")}, ${named(found.reason, "reason")}` : total;
}

function named(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

// A link to what is not shown now shows everything again.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  const aim = link && document.getElementById(link.hash.slice(1));
  if (!input.value || !aim?.closest("[hidden]")) return;
  input.value = "";
  find();
});
document.getElementById("find-form").addEventListener("submit", (event) => event.preventDefault());
input.addEventListener("input", find);
