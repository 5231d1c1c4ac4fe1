/**
 * From received frames to the canvas: decoding, the moment to draw, and what a hidden page does.
 *
 * A hidden page decodes and draws nothing. It keeps the frames since the newest key frame, decodes them
 * at once when it is shown again, and draws only the last.
 */
import { FramePresenter } from "./frame-presenter.js";

export class VideoPath {
  #canvas;
  #listener;
  #presenter;
  #decoder = null;
  #pending = new Map(); // timestamp -> WireFrame that the decoder has
  #held = []; // of a hidden page
  #visibility = () => this.#visibilityChanged();

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} listener `clock()` the audio position heard now, in ms, or null;
   *   `onPosition(audioMs)` for each frame that follows audio, before it is drawn;
   *   `onDraw(frame, skipped)`, `onLost(error)`, `onBlocked()`
   */
  constructor(canvas, listener) {
    this.#canvas = canvas;
    this.#listener = listener;
    this.#presenter = new FramePresenter(canvas, {
      clock: listener.clock,
      onDraw: (frame) => listener.onDraw(frame, this.#presenter.skipped),
    });
  }

  /**
   * @param {Function} Decoder class
   * @param {{codec: ?string, width: ?number, height: ?number}} info INIT_SUCCESS.data
   */
  begin(Decoder, { codec = "avc1.42C01F", width = 512, height = 512 }) {
    this.end();
    if (this.#canvas.width !== width) this.#canvas.width = width; // even the same one would clear it
    if (this.#canvas.height !== height) this.#canvas.height = height;
    this.#decoder = new Decoder({
      codec,
      width,
      height,
      beside: this.#canvas,
      onFrame: (picture, timestamp) => this.#decoded(picture, timestamp),
      onLost: (error) => {
        this.#pending.clear();
        this.#listener.onLost(error);
      },
      onBlocked: () => this.#listener.onBlocked(),
    });
    document.addEventListener("visibilitychange", this.#visibility);
  }

  /** Forgets what is on its way; the last picture stays. */
  end() {
    document.removeEventListener("visibilitychange", this.#visibility);
    this.#decoder?.close();
    this.#decoder = null;
    this.#pending.clear();
    this.#held = [];
    this.#presenter.clear();
  }

  /** Within a click: lets the video play where the browser has blocked it. */
  unlock() {
    this.#decoder?.unlock?.();
  }

  /** @param {WireFrame} frame @returns {boolean} false where it was left out, waiting for a key frame */
  receive(frame) {
    if (this.#decoder === null) return true;
    if (!document.hidden) return this.#decode(frame);
    if (frame.key) this.#held = [];
    this.#held.push(frame);
    if (frame.audioMs !== null) this.#listener.onPosition(frame.audioMs); // the sound goes on
    return true;
  }

  #decode(frame) {
    this.#pending.set(frame.timestamp, frame);
    if (this.#decoder.decode(frame)) return true;
    this.#pending.delete(frame.timestamp);
    return false;
  }

  #visibilityChanged() {
    if (document.hidden) {
      this.#presenter.clear();
      return;
    }
    const held = this.#held.splice(0);
    for (const [at, frame] of held.entries()) {
      frame.passed = at < held.length - 1;
      this.#decode(frame);
    }
    this.#decoder.jumpToEdge?.();
  }

  #decoded(picture, timestamp) {
    const frame = this.#pending.get(timestamp);
    // A decoder may leave out pictures, but never turns back.
    for (const old of this.#pending.keys()) {
      if (old > timestamp) break;
      this.#pending.delete(old);
    }
    if (frame === undefined || frame.passed || document.hidden) return picture.close();
    frame.data = null;
    if (frame.audioMs !== null) this.#listener.onPosition(frame.audioMs);
    this.#presenter.push(picture, frame);
  }
}
