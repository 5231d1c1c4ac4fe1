/** One recording that the face says: its audio on the way to the server, its sound in step with the frames. */
import { speechChunks } from "./speech-chunks.js";
import { SyncedSound } from "./synced-sound.js";

const CHUNK_MS = 40;
const CHUNKS_AT_ONCE = 25; // then the page may draw
// A server that never says which audio its frames follow gets the sound this long after the delay it reported.
const UNSYNCED_GRACE_MS = 3000;

export class Utterance {
  /** Resolves to true when it was heard to its end, to false when it was ended before, or was silent. */
  done;
  #finish;

  #buffer;
  #session;
  #source;
  #chunks = []; // what has been sent, for a server that did not get it all
  #next = 0;
  #sending = false;
  #startMs = 0;
  #sound = null;
  #started = false;
  #timer = 0;
  #over = false;
  #began = performance.now();

  /**
   * @param {AudioBuffer} buffer any rate, any number of channels
   * @param {object} session `delayMs`, `send(chunk)` false while there is no connection, `backlogged()`, `sent()`
   *   when all is sent, `report(phase, detail)`, `warn(detail)`
   */
  constructor(buffer, session) {
    this.#buffer = buffer;
    this.#session = session;
    this.#source = speechChunks(buffer);
    this.done = new Promise((resolve) => (this.#finish = resolve));
  }

  /** Sends it all, as fast as the server takes it. @param {number} startMs audio position of its first sample */
  async send(startMs) {
    this.#startMs = startMs;
    this.#sending = true;
    while (!this.#over && this.#read()) {
      if (this.#session.send(this.#chunks[this.#next])) this.#next += 1;
      else await sleep(100);
      if (this.#next % CHUNKS_AT_ONCE === 0) await breathe();
      while (!this.#over && this.#session.backlogged()) await sleep(100);
    }
    this.#sending = false;
    if (!this.#over) this.#session.sent();
  }

  /** The connection is lost: silence, until a frame shows where the server goes on. */
  hold() {
    clearTimeout(this.#timer);
    this.#sound?.stop();
  }

  /** The session goes on in a new connection. @param {number} receivedMs audio that the server has got */
  resume(receivedMs) {
    const received = Math.round((receivedMs - this.#startMs) / CHUNK_MS);
    this.#next = Math.max(0, Math.min(this.#next, received));
    if (!this.#sending) this.send(this.#startMs);
    if (this.#sound === null) this.staySilent();
    else if (!this.#started) this.#awaitFrames();
  }

  /**
   * Lets it sound from the next frame on that follows it.
   * @param {AudioNode} output
   * @param {number} startMs audio position of the first sample
   */
  soundThrough(output, startMs) {
    if (this.#over) return;
    clearTimeout(this.#timer);
    this.#sound = new SyncedSound(output, this.#buffer, startMs, () => {
      this.#session.report("ended", { resyncs: this.#sound.resyncs });
      this.end(true);
    });
    this.#awaitFrames();
  }

  /** A silent one sounds from here on. @param {AudioNode} output */
  unmute(output) {
    if (this.#sound === null) this.soundThrough(output, this.#startMs);
  }

  /** Without sound it ends by the clock. */
  staySilent() {
    this.#timer = setTimeout(() => this.end(false), this.#session.delayMs + this.#buffer.duration * 1000);
  }

  /** Tells of a decoded frame, before it is drawn. @param {number} audioMs */
  follow(audioMs) {
    if (!this.#sound?.follow(audioMs)) return;
    clearTimeout(this.#timer);
    if (this.#started) return;
    this.#started = true;
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

  /** @returns {boolean} whether there is a next chunk */
  #read() {
    if (this.#next < this.#chunks.length) return true;
    const { value, done } = this.#source.next();
    if (!done) this.#chunks.push(value);
    return !done;
  }

  #awaitFrames() {
    this.#timer = setTimeout(() => this.#soundUnsynced(), this.#session.delayMs + UNSYNCED_GRACE_MS);
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
