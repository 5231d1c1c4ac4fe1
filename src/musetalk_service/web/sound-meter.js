/** A level meter: shows the loudness of a node while it plays, or a level that it is given. */

const FLOOR_DB = -50;

export class SoundMeter {
  #element;
  #request = 0;
  #analyser = null;

  /** @param {HTMLElement} element with role="meter" */
  constructor(element) {
    this.#element = element;
  }

  /** @param {number} level RMS, 0 to 1 */
  show(level) {
    const decibels = 20 * Math.log10(Math.max(level, 1e-6));
    const part = Math.max(0, Math.min(1, 1 - decibels / FLOOR_DB));
    this.#element.style.setProperty("--level", part.toFixed(3));
    this.#element.setAttribute("aria-valuenow", String(Math.round(part * 100)));
  }

  /** @param {AudioNode} node followed until `rest` */
  watch(node) {
    this.rest();
    this.#analyser = new AnalyserNode(node.context, { fftSize: 1024 });
    node.connect(this.#analyser);
    const samples = new Float32Array(1024);
    const follow = () => {
      this.#analyser.getFloatTimeDomainData(samples);
      this.show(Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length));
      this.#request = requestAnimationFrame(follow);
    };
    follow();
    this.#disconnect = () => node.disconnect(this.#analyser);
  }

  rest() {
    cancelAnimationFrame(this.#request);
    this.#disconnect?.();
    this.#disconnect = this.#analyser = null;
    this.show(0);
  }

  #disconnect = null;
}
