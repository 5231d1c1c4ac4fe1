/**
 * H.264 decoding behind a small interface, so that another way to decode only adds a class.
 *
 * A decoder has: `decode(unit)` with unit `{data, key, timestamp}` (one Annex B access unit, ms),
 * `close()`, and calls `onFrame(picture, timestamp)` with a picture that `drawImage` takes and that
 * has `close()`; `onLost(error)` when it had to start again at the next key frame.
 */

/** Why this browser cannot decode, or null when it can. */
export function unsupportedReason() {
  if (typeof VideoDecoder === "function") return null;
  if (!globalThis.isSecureContext) {
    return {
      code: "insecure",
      message: "The browser only decodes live video on a secure page.",
      hint: "Open this page over https://, or as http://localhost on the machine that runs the server.",
    };
  }
  return {
    code: "unsupported",
    message: "This browser has no WebCodecs video decoder.",
    hint: "Use a current Chrome, Edge, Firefox (130 or later) or Safari (16.4 or later).",
  };
}

/** Decodes through WebCodecs (https://www.w3.org/TR/webcodecs/). */
export class WebCodecsDecoder {
  // More waiting than this is a second of video: faster to start again than to catch up.
  static MAX_QUEUE = 25;

  #options;
  #decoder = null;
  #waitsForKey = true;

  /** @param {{codec: string, onFrame: Function, onLost: Function}} options */
  constructor(options) {
    this.#options = options;
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
