/** The line on the face that says what it does: the session's state, and for a moment what just happened. */

const STATES = {
  connecting: "Connecting",
  reconnecting: "Reconnecting",
  offline: "Offline",
  idle: "Idle",
  speaking: "Speaking",
  action: "Acting",
};
const EVENTS = { speech_ended: "Finished speaking", recovered: "Recovered" };
const MOMENT_MS = 1500;

export class StatusChip {
  #element;
  #state = "connecting";
  #event = null;
  #degraded = false;
  #timer = 0;

  /** @param {HTMLElement} element inside something with role="status" */
  constructor(element) {
    this.#element = element;
  }

  /** @param {string} state of the player */
  state(state) {
    this.#state = state;
    if (state !== "idle") this.#event = null;
    if (state === "offline" || state === "reconnecting") this.#degraded = false;
    this.#show();
  }

  /** @param {string} event of the protocol's EVENT message */
  event(event) {
    if (event === "degraded") this.#degraded = true;
    else if (event === "recovered") this.#degraded = false;
    else if (event === "speech_started") this.#state = "speaking"; // before its frames are drawn
    this.#event = EVENTS[event] ?? null;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#event = null;
      this.#show();
    }, MOMENT_MS);
    this.#show();
  }

  #show() {
    const text = this.#degraded ? "Degraded" : (this.#event ?? STATES[this.#state] ?? this.#state);
    if (this.#element.textContent !== text) this.#element.textContent = text;
  }
}
