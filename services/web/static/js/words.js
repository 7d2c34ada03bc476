// Numbers as people read them: the same words as the server's pages have. What is not known is a dash.

const NOT_KNOWN = "–";

export function seconds(value) {
  if (value == null) return NOT_KNOWN;
  if (value < 9.995) return `${value.toFixed(2)} s`;
  if (value < 99.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

export const milliseconds = (value) => seconds(value == null ? null : value / 1000);

export function dollars(value) {
  if (value == null) return NOT_KNOWN;
  if (value >= 1 || value === 0) return `$${value.toFixed(2)}`;
  return value >= 0.001 ? `$${value.toFixed(4)}` : `$${value.toFixed(6)}`;
}

export const gib = (value) => (value == null ? NOT_KNOWN : `${value.toFixed(1)} GiB`);
export const share = (value) => (value == null ? NOT_KNOWN : `${Math.round(value * 100)} %`);

export function target(found) {
  if (!found?.gpu_type) return NOT_KNOWN;
  return `${found.gpu_type} in ${found.region}${found.simulated ? " (simulated)" : ""}`;
}

// An element with its text and children; what users wrote never becomes markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}
