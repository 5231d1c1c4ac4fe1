/** One recording that the face says: its audio on the way to the server, its sound in step with the frames. */
import { speechChunks } from "./speech-chunks.js";
import { SyncedSound } from "./synced-sound.js";

const CHUNKS_AT_ONCE = 25; // then the page may draw
// A server that never says which audio its frames follow gets the sound this long after the delay it reported.
const UNSYNCED_GRACE_MS = 3000;

export class Utterance {
  /** Resolves to true when it was heard to its end, to false when it was ended before, or was silent. */
  done;
  #finish;

  #buffer;
  #session;
  #sound = null;
  #timer = 0;
  #over = false;
  #began = performance.now();

  /**
   * @param {AudioBuffer} buffer any rate, any number of channels
   * @param {object} session `delayMs`, `send(chunk)`, `backlogged()`, `report(phase, detail)`, `warn(detail)`
   */
  constructor(buffer, session) {
    this.#buffer = buffer;
    this.#session = session;
    this.done = new Promise((resolve) => (this.#finish = resolve));
  }

  /** Sends it all, as fast as the server takes it. @returns {Promise<boolean>} false when ended before */
  async send() {
    let count = 0;
    for (const chunk of speechChunks(this.#buffer)) {
      if (this.#over) return false;
      this.#session.send(chunk);
      count += 1;
      if (count % CHUNKS_AT_ONCE === 0) await breathe();
      while (!this.#over && this.#session.backlogged()) await sleep(100);
    }
    return !this.#over;
  }

  /**
   * Lets it sound from the first frame on that follows it.
   * @param {AudioNode} output
   * @param {number} startMs audio position of the first sample
   */
  soundThrough(output, startMs) {
    this.#sound = new SyncedSound(output, this.#buffer, startMs, () => {
      this.#session.report("ended", { resyncs: this.#sound.resyncs });
      this.end(true);
    });
    this.#timer = setTimeout(() => this.#soundUnsynced(), this.#session.delayMs + UNSYNCED_GRACE_MS);
  }

  /** Without sound it ends by the clock. */
  staySilent() {
    this.#timer = setTimeout(() => this.end(false), this.#session.delayMs + this.#buffer.duration * 1000);
  }

  /** Tells of a decoded frame, before it is drawn. @param {number} audioMs */
  follow(audioMs) {
    if (!this.#sound?.follow(audioMs)) return;
    clearTimeout(this.#timer);
    this.#session.report("started", { positionMs: audioMs, latencyMs: performance.now() - this.#began });
  }

  /** The audio position heard at this moment, in ms, or null while nothing sounds. */
  heardMs() {
    return this.#sound?.heardMs() ?? null;
  }

  /** Silence at once, and nothing more is sent. @param {boolean} heard to the end */
  end(heard) {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#sound?.stop();
    this.#sound = null;
    this.#finish(heard);
  }

  #soundUnsynced() {
    this.#sound.start(this.#sound.startMs);
    this.#session.warn({ code: "unsynced", message: "The server sent no lip-synced frames for this audio." });
  }
}

/** Lets the page draw. Unlike a timer, a message comes at full speed in a hidden page too. */
function breathe() {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
