/**
 * H.264 decoding behind a small interface, so that another way to decode only adds a class (mse-decoder.js).
 *
 * A decoder has: static `supports(codec)` and `kind`; `decode(unit)` with unit `{data, key, timestamp}`
 * (one Annex B access unit, ms), `close()`, and calls `onFrame(picture, timestamp)` with a picture that
 * `drawImage` takes and that has `close()`; `onLost(error)` when it had to start again at the next key
 * frame. It may have `jumpToEdge()` and `unlock()`.
 */

/** Decodes through WebCodecs (https://www.w3.org/TR/webcodecs/). */
export class WebCodecsDecoder {
  static kind = "webcodecs";
  // More waiting than this is two seconds of video: faster to start again than to catch up.
  static MAX_QUEUE = 50;

  #options;
  #decoder = null;
  #waitsForKey = true;

  /** @param {{codec: string, onFrame: Function, onLost: Function}} options */
  constructor(options) {
    this.#options = options;
  }

  /** @param {string} codec @returns {Promise<boolean>} whether this browser can */
  static async supports(codec) {
    if (typeof VideoDecoder !== "function") return false; // not in a page that is not secure
    return (await VideoDecoder.isConfigSupported({ codec })).supported;
  }

  /** @returns {boolean} false where the unit was left out, waiting for a key frame */
  decode({ data, key, timestamp }) {
    if (this.#decoder && this.#decoder.decodeQueueSize > WebCodecsDecoder.MAX_QUEUE) {
      this.#restart(new Error("the decoder fell behind"));
    }
    if (this.#waitsForKey && !key) return false;
    try {
      this.#decoder ??= this.#open();
      this.#waitsForKey = false;
      this.#decoder.decode(
        new EncodedVideoChunk({ type: key ? "key" : "delta", timestamp: timestamp * 1000, data }),
      );
      return true;
    } catch (error) {
      this.#restart(error);
      return false;
    }
  }

  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
    this.#waitsForKey = true;
  }

  #open() {
    const decoder = new VideoDecoder({
      output: (frame) => this.#options.onFrame(frame, Math.round(frame.timestamp / 1000)),
      error: (error) => {
        if (decoder === this.#decoder) this.#restart(error);
      },
    });
    // Without a description the stream is Annex B; without the latency hint one frame is held back.
    decoder.configure({ codec: this.#options.codec, optimizeForLatency: true });
    return decoder;
  }

  #restart(error) {
    this.close();
    this.#options.onLost(error);
  }
}
