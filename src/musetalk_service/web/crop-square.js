/** The square that becomes the portrait, chosen on the picture or video: dragged, zoomed, or moved by the keyboard. */

const LEAST = 0.05; // of the shorter side, as the server takes it
const AT_FIRST = 0.8;
const STEP = 0.02; // of the shorter side, for an arrow key
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class CropSquare {
  #box;
  #zoom;
  #media = null; // the <img> or <video> under it
  #waiting = null; // AbortController of the wait for its size
  #left = 0; // in pixels of the picture, as #top and #side
  #top = 0;
  #side = 0;

  /**
   * @param {HTMLElement} box that is laid over the picture, whose parent holds both
   * @param {HTMLInputElement} zoom a range from 0 (all of the picture) to 1 (the smallest square)
   */
  constructor(box, zoom) {
    this.#box = box;
    this.#zoom = zoom;
    zoom.oninput = () => this.#resize(this.#shorter * (1 - zoom.value * (1 - LEAST)));
    box.onkeydown = (event) => this.#press(event);
    box.onpointerdown = (event) => this.#grab(event);
    box.parentElement.addEventListener("wheel", (event) => this.#roll(event), { passive: false });
    new ResizeObserver(() => this.#draw()).observe(box.parentElement);
  }

  /** Lays the square over a picture or video as soon as its size is known; null takes it away. @param {?HTMLElement} media */
  show(media) {
    this.#waiting?.abort();
    this.#waiting = new AbortController();
    const known = media !== null && (media.naturalWidth ?? media.videoWidth) > 0;
    this.#media = known ? media : null;
    this.#box.hidden = !known;
    if (!known) {
      const options = { once: true, signal: this.#waiting.signal };
      for (const event of ["load", "loadedmetadata"]) media?.addEventListener(event, () => this.show(media), options);
      return;
    }
    this.#side = this.#shorter * AT_FIRST;
    this.#left = (this.#width - this.#side) / 2;
    this.#top = (this.#height - this.#side) / 3; // faces are above the middle
    this.#draw();
  }

  /** What the server takes: x,y,size; null where no square is shown. @returns {?string} */
  get value() {
    if (this.#media === null) return null;
    const parts = [this.#left / this.#width, this.#top / this.#height, this.#side / this.#shorter];
    return parts.map((part) => part.toFixed(5)).join(",");
  }

  get #width() {
    return this.#media.naturalWidth ?? this.#media.videoWidth;
  }

  get #height() {
    return this.#media.naturalHeight ?? this.#media.videoHeight;
  }

  get #shorter() {
    return Math.min(this.#width, this.#height);
  }

  /** Where the picture is within its frame, in CSS pixels: object-fit is contain. */
  get #shown() {
    const { clientWidth, clientHeight } = this.#box.parentElement;
    const scale = Math.min(clientWidth / this.#width, clientHeight / this.#height);
    return { scale, left: (clientWidth - this.#width * scale) / 2, top: (clientHeight - this.#height * scale) / 2 };
  }

  #grab(event) {
    event.preventDefault();
    this.#box.focus();
    this.#box.setPointerCapture(event.pointerId);
    const { scale } = this.#shown;
    const [left, top] = [this.#left, this.#top];
    this.#box.onpointermove = ({ clientX, clientY }) => {
      this.#place(left + (clientX - event.clientX) / scale, top + (clientY - event.clientY) / scale);
    };
    this.#box.onpointerup = this.#box.onpointercancel = () => {
      this.#box.onpointermove = null;
    };
  }

  #roll(event) {
    if (this.#media === null) return;
    event.preventDefault();
    this.#resize(this.#side * 1.0015 ** event.deltaY);
  }

  #press(event) {
    const step = STEP * this.#shorter;
    if (event.key in MOVES) {
      const [x, y] = MOVES[event.key];
      this.#place(this.#left + x * step, this.#top + y * step);
    } else if (event.key === "+" || event.key === "-") {
      this.#resize(this.#side + (event.key === "+" ? -2 : 2) * step);
    } else {
      return;
    }
    event.preventDefault();
  }

  #resize(side) {
    const fitted = Math.min(Math.max(side, LEAST * this.#shorter), this.#shorter);
    const grown = (fitted - this.#side) / 2;
    this.#side = fitted;
    this.#place(this.#left - grown, this.#top - grown);
  }

  #place(left, top) {
    this.#left = Math.min(Math.max(left, 0), this.#width - this.#side);
    this.#top = Math.min(Math.max(top, 0), this.#height - this.#side);
    this.#draw();
  }

  #draw() {
    if (this.#media === null) return;
    const { scale, left, top } = this.#shown;
    this.#box.style.left = `${left + this.#left * scale}px`;
    this.#box.style.top = `${top + this.#top * scale}px`;
    this.#box.style.width = this.#box.style.height = `${this.#side * scale}px`;
    this.#zoom.value = (1 - this.#side / this.#shorter) / (1 - LEAST);
  }
}
