/**
 * Puts decoded pictures on a canvas: as they come, or each at its moment on the clock of the sound.
 */

// Hardware decoders stop when too many of their pictures are held.
const MAX_HELD = 16;
const MAX_HELD_FREE = 3;
// The screen refreshes every 8 to 17 ms: half of that makes a frame as often early as late.
const HALF_REFRESH_MS = 8;

export class FramePresenter {
  #canvas;
  #context;
  #onDraw;
  #clock;
  #queue = [];
  #lastTimestamp = 0;
  #lastPosition = -Infinity;
  #request = 0;

  /** Pictures that were passed over because a newer one was due. */
  skipped = 0;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} options
   * @param {() => ?number} options.clock the audio position heard now, in ms; null to draw as frames come
   * @param {(meta: object) => void} options.onDraw after each picture, with what was given to `push`
   */
  constructor(canvas, { clock, onDraw }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#clock = clock;
    this.#onDraw = onDraw;
  }

  /**
   * Takes over a picture and closes it in the end.
   * @param {CanvasImageSource} picture
   * @param {{timestamp: number, audioMs: ?number}} meta
   */
  push(picture, meta) {
    // A frame without an audio position follows the one before it at the pace of the video.
    const position = meta.audioMs ?? this.#lastPosition + (meta.timestamp - this.#lastTimestamp);
    this.#lastPosition = position;
    this.#lastTimestamp = meta.timestamp;
    this.#queue.push({ picture, meta, position });
    while (this.#queue.length > MAX_HELD) this.#drop();
    this.#request ||= requestAnimationFrame(() => this.#paint());
  }

  /** Forgets what waits; the last picture stays. */
  clear() {
    for (const { picture } of this.#queue.splice(0)) picture.close();
    this.#lastPosition = -Infinity;
  }

  #drop() {
    this.#queue.shift().picture.close();
    if (!document.hidden) this.skipped += 1; // a hidden page paints nothing, by design
  }

  #paint() {
    this.#request = 0;
    const now = this.#clock();
    if (now === null) {
      while (this.#queue.length > MAX_HELD_FREE) this.#drop();
      if (this.#queue.length > 0) this.#draw(this.#queue.shift());
    } else {
      const due = now + HALF_REFRESH_MS;
      while (this.#queue.length > 1 && this.#queue[1].position <= due) this.#drop();
      if (this.#queue.length > 0 && this.#queue[0].position <= due) this.#draw(this.#queue.shift());
    }
    if (this.#queue.length > 0) this.#request = requestAnimationFrame(() => this.#paint());
  }

  #draw({ picture, meta }) {
    const { width, height } = this.#canvas;
    this.#context.drawImage(picture, 0, 0, width, height);
    picture.close();
    this.#onDraw(meta);
  }
}
