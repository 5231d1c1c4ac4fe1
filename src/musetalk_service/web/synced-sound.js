/**
 * The sound of one utterance, started so that it is heard while the frames that show it are drawn.
 *
 * The frames carry the audio position that the mouth follows. The first of them fixes where on the
 * AudioContext's clock that position lies; from then on the sound is the clock and the picture follows.
 */

// Two frames of slack between the first frame's arrival and its drawing absorb network jitter.
const LEAD_S = 0.08;
// A stream this far from the sound, for so long, has really moved (the server waited for audio, or
// trimmed silence): the sound follows it. Less is jitter, which the frames' queue absorbs; and frames
// that a stalled network held back come late, but all at once.
const DRIFT_MS = 300;
const EARLY_FOR_MS = 75;
const LATE_FOR_MS = 450;

export class SyncedSound {
  #context;
  #buffer;
  #output;
  #onEnded;
  #source = null;
  #anchorTime = 0;
  #anchorMs = 0;
  #latency = null;
  #drift = { sign: 0, since: 0 };
  #timer = 0;

  /** Times that the sound had to jump to stay with the picture. */
  resyncs = 0;

  /**
   * @param {AudioNode} output where the sound goes
   * @param {AudioBuffer} buffer
   * @param {number} startMs audio position of the buffer's first sample
   * @param {() => void} onEnded after the last sample was heard
   */
  constructor(output, buffer, startMs, onEnded) {
    this.#context = output.context;
    this.#buffer = buffer;
    this.#output = output;
    this.startMs = startMs;
    this.endMs = startMs + buffer.duration * 1000;
    this.#onEnded = onEnded;
  }

  /** The audio position heard at this moment, in ms, or null while there is no running sound. */
  heardMs() {
    if (this.#source === null || this.#context.state !== "running") return null;
    const elapsed = this.#context.currentTime - this.#outputLatency() - this.#anchorTime;
    return this.#anchorMs + elapsed * 1000;
  }

  /** Tells of a decoded frame, before it is drawn. @param {number} audioMs @returns {boolean} it began the sound */
  follow(audioMs) {
    if (audioMs < this.startMs || audioMs >= this.endMs) return false;
    if (this.#source === null) {
      if (this.#context.state !== "running") return false;
      this.start(audioMs);
      return true;
    }
    const heard = this.heardMs();
    if (heard === null) return false;
    const ahead = audioMs - heard - (LEAD_S + this.#outputLatency()) * 1000;
    if (this.#hasMoved(ahead)) {
      this.resyncs += 1;
      this.start(audioMs);
    }
    return false;
  }

  /** Plays from a position of the audio on, instead of whatever plays. @param {number} audioMs */
  start(audioMs) {
    this.#silence();
    const source = new AudioBufferSourceNode(this.#context, { buffer: this.#buffer });
    source.connect(this.#output);
    source.onended = () => {
      this.#timer = setTimeout(() => this.#finish(), this.#outputLatency() * 1000);
    };
    this.#source = source;
    this.#anchorTime = this.#context.currentTime + LEAD_S;
    this.#anchorMs = audioMs;
    this.#drift.sign = 0;
    source.start(this.#anchorTime, (audioMs - this.startMs) / 1000);
  }

  /** Silence at once, and `onEnded` is not called. The next `follow` begins again, at its position. */
  stop() {
    this.#silence();
    this.#source = null;
  }

  /** @param {number} ahead ms that the newest frame is before its usual place */
  #hasMoved(ahead) {
    const now = performance.now();
    const sign = Math.abs(ahead) > DRIFT_MS ? Math.sign(ahead) : 0;
    if (sign !== this.#drift.sign) this.#drift = { sign, since: now };
    return sign !== 0 && now - this.#drift.since >= (sign > 0 ? EARLY_FOR_MS : LATE_FOR_MS);
  }

  #silence() {
    clearTimeout(this.#timer);
    if (this.#source === null) return;
    this.#source.onended = null;
    this.#source.stop();
    this.#source.disconnect();
  }

  #finish() {
    this.#source = null;
    this.#onEnded();
  }

  /** Seconds from the clock to the ear, smoothed: browsers report it in steps. */
  #outputLatency() {
    const reported = this.#context.outputLatency || this.#context.baseLatency || 0;
    this.#latency = this.#latency === null ? reported : this.#latency + 0.02 * (reported - this.#latency);
    return this.#latency;
  }
}
