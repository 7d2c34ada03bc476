// The JSON API of this site, called with the session of whoever looks.

const DETAIL = "type.googleapis.com/google.rpc.";

// The answer of the API as JSON. Throws an Error with `status` (HTTP, 0 when nothing answered), `reason`, `message` and
// `violations`, a list of {field, description}.
export async function api(method, path, body) {
  const request = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    request.headers["content-type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw failure(0, "SERVICE_UNAVAILABLE", "The platform does not answer. Try again in a moment.");
  }
  const text = await response.text();
  const found = parsed(text);
  if (response.ok && found !== undefined) return found;
  if (response.ok && !text) return {};
  const details = found?.details ?? [];
  const reason = details.find((detail) => detail["@type"] === `${DETAIL}ErrorInfo`)?.reason ?? "";
  const fields = details.find((detail) => detail["@type"] === `${DETAIL}BadRequest`)?.field_violations ?? [];
  if (response.status === 401) throw failure(401, reason, "The session has ended: sign in again.");
  const violations = fields.map(({ field, description }) => ({ field, description }));
  throw failure(response.status, reason, found?.message || `The platform answered with ${response.status}.`, violations);
}

function failure(status, reason, message, violations = []) {
  return Object.assign(new Error(message), { status, reason, violations });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
