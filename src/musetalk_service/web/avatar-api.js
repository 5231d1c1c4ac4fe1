/** The server's routes for avatars: upload with progress, follow, look at, delete. */

const POLL_MS = 700; // where the events break off

/** A refusal, in the server's own words. */
export class ApiError extends Error {
  /** @param {string} message @param {string} [hint] what to do about it @param {number} [status] of HTTP */
  constructor(message, hint = "", status = 0) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

export class AvatarApi {
  #base;
  #headers;

  /** @param {string} base http(s) address of the server @param {string} [token] JSON Web Token */
  constructor(base, token) {
    this.#base = base;
    this.#headers = token ? { Authorization: `Bearer ${token}` } : {};
  }

  /**
   * Uploads a file; resolves when the server has begun to work on it.
   * @param {string} userId @param {File} file @param {string} consentBy who agreed to the use of this face
   * @param {?string} crop x,y,size of the square that becomes the portrait; null lets the server choose
   * @param {(share: number) => void} onSent 0 to 1
   * @param {AbortSignal} signal
   * @returns {Promise<object>} the first status
   */
  prepare(userId, file, consentBy, crop, onSent, signal) {
    const form = new FormData();
    form.append("consent_by", consentBy);
    if (crop !== null) form.append("crop", crop);
    form.append("file", file);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
      request.open("POST", this.#address(`prepare_avatar/${userId}`));
      for (const [name, value] of Object.entries(this.#headers)) request.setRequestHeader(name, value);
      request.responseType = "json";
      request.upload.onprogress = ({ loaded, total }) => onSent(total ? loaded / total : 0);
      request.onload = () => {
        if (request.status < 300) resolve(request.response);
        else reject(refusal(request.status, request.response));
      };
      request.onerror = () => reject(unreachable());
      request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
      signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(form);
    });
  }

  /**
   * Each status of a preparation, up to completed or failed.
   * @param {string} userId @param {AbortSignal} signal
   * @returns {AsyncGenerator<{status: string, stage: string, percent: number, reason: ?object}>}
   */
  async *follow(userId, signal) {
    try {
      // Not an EventSource, which cannot send a token.
      const answer = await this.#fetch(`processing_status/${userId}/events`, { signal });
      for await (const status of eventsOf(answer.body)) {
        yield status;
        if (status.status !== "processing") return;
      }
    } catch (error) {
      if (error.name === "AbortError" || error instanceof ApiError) throw error;
    }
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      const status = await (await this.#fetch(`processing_status/${userId}`, { signal })).json();
      yield status;
      if (status.status !== "processing") return;
    }
  }

  /** A small picture of a user's avatar, as an address to be revoked; null where there is none. @param {string} userId */
  async thumbnail(userId) {
    const address = this.#address(`avatars/${userId}/thumbnail.jpg`);
    const answer = await fetch(address, { headers: this.#headers, cache: "no-store" }).catch(() => null);
    return answer?.ok ? URL.createObjectURL(await answer.blob()) : null;
  }

  /** The face that was cut out of an upload; null while there is none. @param {string} userId */
  face(userId) {
    return this.#maybe(`processing_status/${userId}/portrait`);
  }

  /** What the server says of a user's avatar; null where there is none. @param {string} userId */
  find(userId) {
    return this.#maybe(`avatars/${userId}`);
  }

  /** Ends the preparation that runs; none is fine. @param {string} userId */
  async cancel(userId) {
    await fetch(this.#address(`prepare_avatar/${userId}`), { method: "DELETE", headers: this.#headers });
  }

  /** Deletes a user's avatar everywhere. @param {string} userId */
  async remove(userId) {
    await this.#fetch(`avatars/${userId}`, { method: "DELETE" });
  }

  #address(path) {
    return new URL(path, this.#base);
  }

  async #maybe(path) {
    const answer = await fetch(this.#address(path), { headers: this.#headers }).catch(() => null);
    return answer?.ok ? answer.json().catch(() => null) : null;
  }

  async #fetch(path, options) {
    let answer;
    try {
      answer = await fetch(this.#address(path), { ...options, headers: this.#headers });
    } catch (error) {
      throw error.name === "AbortError" ? error : unreachable();
    }
    if (!answer.ok) throw refusal(answer.status, await answer.json().catch(() => null));
    return answer;
  }
}

/** The objects of a stream of server-sent events. @param {ReadableStream<Uint8Array>} body */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) yield JSON.parse(event.replace(/^data: /, ""));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function unreachable() {
  return new ApiError("The server cannot be reached.", "Check the network, then try again.");
}

function refusal(status, body) {
  if (status === 413) return new ApiError("The file is too large for this server.", "Make it smaller or shorter.");
  if (status === 401 || status === 403) return new ApiError("You may not do this.", "Check the access token.");
  if (status === 503) return new ApiError("The server is busy with other faces.", "Try again in a minute.");
  return new ApiError(sentence(body?.message ?? `The server answered ${status}`), "", status);
}

/** @param {string} text @returns {string} with a capital and a full stop */
export function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/\.?$/, ".");
}
