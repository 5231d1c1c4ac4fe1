/** The figures of a live session: totals as they happen, rates once a second. */

const NOTED_CHUNKS = 250; // ten seconds of live audio
const SKEW_MEMORY = 0.05; // weight of the newest frame in the mean skew

export class LiveStats {
  engine = null;
  /** What decodes: webcodecs or mse. */
  decoder = null;
  reconnects = 0;
  state = "offline";

  framesReceived = 0;
  /** Different frames that reached the canvas. */
  framesDrawn = 0;
  /** Left out before the network, because this client was slow: holes in the frames' timestamps. */
  framesMissing = 0;
  /** Passed over on this side because a newer one was due. */
  framesSkipped = 0;
  /** Arrived while the decoder waited for a key frame. */
  undecoded = 0;
  decoderRestarts = 0;
  soundResyncs = 0;
  bytesReceived = 0;

  fpsDrawn = 0;
  fpsReceived = 0;
  kbitPerSecond = 0;
  /** From INIT to INIT_SUCCESS, with the connection's set-up. */
  connectMs = null;
  /** The delay that the server announced, from audio to its frame. */
  delayMs = null;
  /** From audio sent to its frame drawn (live) or its sound started (utterance); null before the first. */
  latencyMs = null;
  /** Sound minus picture, in ms, at frames drawn with sound: newest, running mean, largest. */
  avSkewMs = null;
  avSkewMeanMs = null;
  avSkewMaxMs = 0;

  /** Of the newest frame received, in ms. */
  lastTimestamp = null;
  #mark = { time: 0, received: 0, drawn: 0, bytes: 0 };
  #sent = []; // {endMs, at} of live chunks, in order

  get dropped() {
    return this.framesMissing + this.framesSkipped + this.undecoded;
  }

  /** @param {object} info INIT_SUCCESS.data @param {number} connectMs */
  begin(info, connectMs) {
    this.engine = info.engine ?? null;
    this.delayMs = info.delay_ms ?? null;
    this.connectMs = connectMs;
    this.latencyMs = null;
    this.lastTimestamp = null;
    this.#sent = [];
    this.#setMark();
  }

  received({ timestamp, wireBytes }) {
    this.framesReceived += 1;
    this.bytesReceived += wireBytes;
    if (this.lastTimestamp !== null) {
      this.framesMissing += Math.max(0, Math.round((timestamp - this.lastTimestamp) / 40) - 1);
    }
    this.lastTimestamp = timestamp;
  }

  sentLive(endMs) {
    this.#sent.push({ endMs, at: performance.now() });
    if (this.#sent.length > NOTED_CHUNKS) this.#sent.shift();
  }

  /** @param {{audioMs: ?number}} frame @param {?number} heardMs @param {number} skipped */
  drawn({ audioMs }, heardMs, skipped) {
    this.framesDrawn += 1;
    this.framesSkipped = skipped;
    if (audioMs === null) return;
    while (this.#sent.length > 0 && this.#sent[0].endMs <= audioMs) this.#sent.shift();
    const chunk = this.#sent[0];
    if (chunk !== undefined && chunk.endMs - audioMs <= 40) this.latencyMs = performance.now() - chunk.at;
    if (heardMs === null) return;
    const skew = heardMs - audioMs;
    this.avSkewMs = skew;
    const mean = this.avSkewMeanMs ?? skew;
    this.avSkewMeanMs = mean + SKEW_MEMORY * (skew - mean);
    if (Math.abs(skew) > Math.abs(this.avSkewMaxMs)) this.avSkewMaxMs = skew;
  }

  /** Brings the rates up to date. @returns {LiveStats} this */
  tick() {
    const seconds = (performance.now() - this.#mark.time) / 1000;
    this.fpsReceived = (this.framesReceived - this.#mark.received) / seconds;
    this.fpsDrawn = (this.framesDrawn - this.#mark.drawn) / seconds;
    this.kbitPerSecond = ((this.bytesReceived - this.#mark.bytes) * 8) / 1000 / seconds;
    this.#setMark();
    return this;
  }

  #setMark() {
    this.#mark = {
      time: performance.now(),
      received: this.framesReceived,
      drawn: this.framesDrawn,
      bytes: this.bytesReceived,
    };
  }
}
