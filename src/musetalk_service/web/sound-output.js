/** Where the sound goes, and the browser's lock on it: no sound before the person has clicked or tapped. */

const UNLOCK_PATIENCE_MS = 500; // a locked context's resume() stays pending
const GESTURES = ["pointerup", "keydown", "touchend"];

export class SoundOutput {
  #context;
  #node = null;
  #onUnlocked;
  #awaiting = false;
  #gesture = () => this.#touched();

  /**
   * @param {AudioContext} [context] default: one of its own, made when first needed
   * @param {() => void} onUnlocked after a click, where one was awaited
   */
  constructor(context, onUnlocked) {
    this.#context = context ?? null;
    this.#onUnlocked = onUnlocked;
  }

  get context() {
    this.#context ??= new AudioContext({ latencyHint: "interactive" });
    return this.#context;
  }

  /** @returns {GainNode} */
  get node() {
    if (this.#node === null) {
      this.#node = new GainNode(this.context);
      this.#node.connect(this.context.destination);
    }
    return this.#node;
  }

  /** @returns {Promise<boolean>} whether the browser lets sound out; if not, the next click anywhere does */
  async unlock() {
    const { context } = this;
    // Not only "suspended": iOS says "interrupted" after a call.
    if (context.state !== "running") await Promise.race([context.resume(), sleep(UNLOCK_PATIENCE_MS)]);
    if (context.state === "running") return true;
    this.awaitGesture();
    return false;
  }

  /** Calls `onUnlocked` at the next click, tap or key. */
  awaitGesture() {
    if (this.#awaiting) return;
    this.#awaiting = true;
    for (const type of GESTURES) window.addEventListener(type, this.#gesture, true);
  }

  async #touched() {
    const resumed = this.context.resume();
    this.#onUnlocked(); // within the click, for the video
    await resumed;
    for (const type of GESTURES) window.removeEventListener(type, this.#gesture, true);
    this.#awaiting = false;
    this.#onUnlocked();
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
