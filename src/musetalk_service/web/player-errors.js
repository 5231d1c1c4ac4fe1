/**
 * What went wrong, in plain words, with what to do about it.
 * Each function gives `{code, message, hint, fatal, retryAfterMs}`; `fatal` means that the session is over.
 */

const CLOSE_CODES = {
  1001: { code: "shutdown", message: "The server is shutting down.", hint: "Reconnect in a moment." },
  1008: { code: "refused", message: "The server refused this connection.", hint: "Check the user name and the access rights." },
  1009: { code: "refused", message: "A message was too large for the server.", hint: "Send audio in 40 ms chunks." },
  1013: { code: "full", message: "The server is full.", hint: "All places are taken at the moment. Try again in a minute." },
  4401: { code: "auth", message: "Signing in failed.", hint: "The access token is missing, wrong or expired." },
};

const SERVER_CODES = {
  INVALID_SESSION: "Reconnect to get a new session.",
  MODEL_NOT_FOUND: "The server has no avatar for this user, and its default one is switched off.",
  PROCESSING_ERROR: "Try again; with another recording if it happens again.",
  RATE_LIMIT_EXCEEDED: "Too much audio is waiting at the server. Wait a little, or interrupt.",
  INTERNAL_ERROR: "The fault is the server's. Try again in a moment.",
};

/** @param {CloseEvent} event of a live session */
export function closeError({ code, reason }) {
  const known = CLOSE_CODES[code];
  if (known) return { ...known, fatal: true };
  const message = reason ? `The connection was closed: ${reason}.` : "The connection was lost.";
  return { code: "lost", message, hint: "Check the network, then reconnect.", fatal: true };
}

/**
 * Why no session came about. A browser does not tell a refused handshake (HTTP 503) from an unreachable
 * server, so this asks the server how it is.
 * @param {CloseEvent} event
 * @param {string} address the WebSocket's
 */
export async function connectError({ code, reason }, address) {
  if (CLOSE_CODES[code]) return { ...CLOSE_CODES[code], fatal: true };
  if (reason) return closeError({ code, reason });
  const url = address.replace(/^ws/, "http").replace(/musetalk\/v1\/ws\/.*$/, "health");
  let health;
  try {
    health = await (await fetch(url, { cache: "no-store" })).json();
  } catch {
    const message = "The server cannot be reached.";
    return { code: "unreachable", message, hint: "Check that it runs and that the network is up, then reconnect.", fatal: true };
  }
  if (health.sessions_active >= health.max_sessions) return { ...CLOSE_CODES[1013], fatal: true };
  if (health.status !== "ok") {
    return { code: "busy", message: `The server is ${health.status}.`, hint: "Reconnect in a moment.", fatal: true };
  }
  const message = "The server refused the stream.";
  const hint = "It may be full, have no avatar for this user, or not accept this page's address. Try again in a minute.";
  return { code: "refused", message, hint, fatal: true };
}

/** @param {{code: string, message: string, details?: object}} data of an ERROR message */
export function serverError({ code, message, details }) {
  return {
    code,
    message: `${message[0].toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`,
    hint: SERVER_CODES[code],
    fatal: false,
    retryAfterMs: details?.retry_after_ms,
  };
}
