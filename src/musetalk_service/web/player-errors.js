/**
 * What went wrong, in plain words, with what to do about it.
 * Each function gives `{code, message, hint, fatal, passing, retryAfterMs}`; `fatal` means that the session is
 * over, `passing` that trying again later may help without anybody's doing.
 */

const CLOSE_CODES = {
  1001: { code: "shutdown", message: "The server is shutting down.", hint: "Reconnect in a moment.", passing: true },
  1008: {
    code: "refused",
    message: "The server refused this connection.",
    hint: "Check the user name and the access rights.",
  },
  1009: { code: "refused", message: "A message was too large for the server.", hint: "Send audio in 40 ms chunks." },
  1013: {
    code: "full",
    message: "The server is full.",
    hint: "All places are taken at the moment. Try again in a minute.",
    passing: true,
  },
  4401: { code: "auth", message: "Signing in failed.", hint: "The access token is missing, wrong or expired." },
};

const SERVER_CODES = {
  INVALID_SESSION: "Reconnect to get a new session.",
  MODEL_NOT_FOUND: "The server has no avatar for this user, and its default one is switched off.",
  PROCESSING_ERROR: "Try again; with another recording if it happens again.",
  RATE_LIMIT_EXCEEDED: "Too much audio is waiting at the server. Wait a little, or interrupt.",
  INTERNAL_ERROR: "The fault is the server's. Try again in a moment.",
};

/** @param {CloseEvent} event of a live session @param {?string} [goodbye] CLOSE_ACK.reason */
export function closeError({ code, reason }, goodbye = null) {
  if (goodbye === "timeout") {
    const message = "The session ended, for nothing was said for a long time.";
    return { code: "timeout", message, hint: "Reconnect to go on.", fatal: true, passing: false };
  }
  const known = CLOSE_CODES[code];
  if (known) return { passing: false, ...known, fatal: true };
  const message = reason ? `The connection was closed: ${reason}.` : "The connection was lost.";
  return { code: "lost", message, hint: "Check the network, then reconnect.", fatal: true, passing: true };
}

/**
 * Why no session came about. A browser does not tell a refused handshake (HTTP 503) from an unreachable
 * server, so this asks the server how it is.
 * @param {CloseEvent} event
 * @param {string} address the WebSocket's
 * @param {?object} [refusal] the data of an ERROR that answered INIT
 */
export async function connectError({ code, reason }, address, refusal = null) {
  if (code === 4401 || refusal?.details?.reason) return signInError(refusal?.details?.reason);
  if (refusal !== null) return { ...serverError(refusal), fatal: true, passing: false };
  if (CLOSE_CODES[code]) return { passing: false, ...CLOSE_CODES[code], fatal: true };
  if (reason) return closeError({ code, reason });
  const url = address.replace(/^ws/, "http").replace(/musetalk\/v1\/ws\/.*$/, "health");
  let health;
  try {
    health = await (await fetch(url, { cache: "no-store" })).json();
  } catch {
    const message = "The server cannot be reached.";
    const hint = "Check that it runs and that the network is up, then reconnect.";
    return { code: "unreachable", message, hint, fatal: true, passing: true };
  }
  if (health.sessions_active >= health.max_sessions) return { ...CLOSE_CODES[1013], fatal: true };
  if (health.status !== "ok") {
    const message = `The server is ${health.status}.`;
    return { code: "busy", message, hint: "Reconnect in a moment.", fatal: true, passing: true };
  }
  const message = "The server refused the stream.";
  const hint = "It may be full, know no avatar for this user, or not accept this page's address. Try again later.";
  return { code: "refused", message, hint, fatal: true, passing: true };
}

function signInError(reason) {
  const hint = reason
    ? `The access token is ${reason.replaceAll("_", " ")}. Open this page with a new one.`
    : CLOSE_CODES[4401].hint;
  return { ...CLOSE_CODES[4401], hint, fatal: true, passing: false };
}

/** @param {{code: string, message: string, details?: object}} data of an ERROR message */
export function serverError({ code, message, details }) {
  return {
    code,
    message: `${message[0].toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? "" : "."}`,
    hint: SERVER_CODES[code],
    fatal: false,
    passing: true,
    retryAfterMs: details?.retry_after_ms,
  };
}
