/**
 * Keeps a session alive: where its connection breaks, it connects again and again, with growing random
 * pauses, and takes the session up where it was (`resume_token`) while the server still has it.
 */
import { SessionSocket } from "./session-socket.js";

// "Full jitter" would now and then try at once, twice: half of each pause is fixed.
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 8000;
const STEADY_MS = 10_000; // a connection that held this long begins the pauses anew
const CLOSED = { code: "closed", message: "Closed while connecting.", fatal: true };

export class SessionKeeper {
  #prepare;
  #patienceMs;
  #listener;
  #socket = null;
  #over = false;
  #opening = null; // {resolve, reject} of `open`
  #token = null;
  #attempt = 0;
  #readyAt = 0;
  #lostAt = null;
  #timer = 0;
  // The network is back, or the person is: no reason to wait longer.
  #hopeful = () => this.#timer !== 0 && !document.hidden && this.#retry();

  /**
   * @param {object} options
   * @param {() => Promise<object>} options.prepare gives what `SessionSocket` needs, anew for each attempt
   * @param {number} options.patienceMs how long a lost connection is tried again; 0 is not at all
   * @param {object} options.listener as of `SessionSocket`, with `onLost({error, attempt, delayMs})` before
   *   each further attempt, and `onEnd` only when it gives up
   */
  constructor({ prepare, patienceMs, listener }) {
    this.#prepare = prepare;
    this.#patienceMs = patienceMs;
    this.#listener = listener;
  }

  /** @returns {?string} null while there is no connection */
  get sessionId() {
    return this.#socket?.sessionId ?? null;
  }

  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /**
   * Only a connection that is lost later is tried again.
   * @returns {Promise<object>} INIT_SUCCESS.data; rejects with `{code, message, ...}`
   */
  open() {
    if (this.#over) return Promise.reject(CLOSED);
    window.addEventListener("online", this.#hopeful);
    document.addEventListener("visibilitychange", this.#hopeful);
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      this.#connect();
    });
  }

  send(type, data) {
    return this.#socket?.send(type, data) ?? false;
  }

  /** Ends the session; the listener hears no more. */
  close() {
    this.#opening?.reject(CLOSED);
    this.#finish();
    this.#socket?.close();
  }

  /** Treats a connection that has gone silent as a broken one. */
  abandon() {
    this.#socket?.abandon();
  }

  async #connect() {
    let target;
    try {
      target = await this.#prepare();
    } catch (error) {
      this.#ended({ code: "auth", message: error.message, hint: "The access token could not be had.", fatal: true }, 0);
      return;
    }
    if (this.#over) return;
    const init = this.#token ? { ...target.init, resume_token: this.#token } : target.init;
    this.#socket = new SessionSocket(
      { ...target, init },
      {
        onReady: (data, tookMs) => this.#ready(data, tookMs),
        onFrame: (frame) => this.#listener.onFrame(frame),
        onMessage: (message) => this.#listener.onMessage(message),
        onError: (detail) => this.#listener.onError(detail),
        onEnd: (detail, code) => this.#ended(detail, code),
      },
    );
  }

  #ready(data, tookMs) {
    this.#token = data.resume_token ?? null;
    this.#readyAt = performance.now();
    this.#lostAt = null;
    this.#listener.onReady(data, tookMs);
    this.#opening?.resolve(data);
    this.#opening = null;
  }

  #ended(detail, code) {
    if (this.#over) return;
    const now = performance.now();
    if (this.#lostAt === null) {
      this.#lostAt = now;
      if (now - this.#readyAt > STEADY_MS) this.#attempt = 0;
    }
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#attempt);
    const delayMs = longest * (0.5 + Math.random() / 2);
    const inTime = now + delayMs - this.#lostAt <= this.#patienceMs;
    if (this.#opening !== null || !detail.passing || !inTime) {
      const opening = this.#opening;
      this.#finish();
      this.#listener.onEnd(detail, code);
      opening?.reject(detail);
      return;
    }
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.#retry(), delayMs);
    this.#listener.onLost({ error: detail, attempt: this.#attempt, delayMs });
  }

  #retry() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#connect();
  }

  #finish() {
    this.#over = true;
    this.#opening = null;
    clearTimeout(this.#timer);
    this.#timer = 0;
    window.removeEventListener("online", this.#hopeful);
    document.removeEventListener("visibilitychange", this.#hopeful);
  }
}
