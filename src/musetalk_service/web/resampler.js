/**
 * A streaming, band-limited sample-rate converter (windowed sinc, polyphase).
 *
 * Method: Smith and Gossett, "A flexible sampling-rate conversion method", ICASSP 1984. The cut-off
 * lies below the lower of the two Nyquist frequencies, so nothing above 8 kHz folds into speech.
 * Shared by the page (whole files) and the microphone's AudioWorklet (128 samples at a time).
 */

const ZERO_CROSSINGS = 24; // each side of the kernel: the transition band is about a tenth of Nyquist wide
const ROLL_OFF = 0.94; // cut-off as a part of the lower Nyquist frequency
const KAISER_BETA = 8; // about 80 dB of stop-band attenuation
const MAX_PHASES = 1024; // for rates without a small common ratio the phase is rounded to 1/1024

export class Resampler {
  #step;
  #phases;
  #taps;
  #half;
  #history;
  #held;
  #next;

  /** @param {number} from input samples per second @param {number} to output samples per second */
  constructor(from, to) {
    this.#step = from / to;
    this.#phases = Math.min(to / gcd(from, to), MAX_PHASES);
    const cutoff = ROLL_OFF * Math.min(1, to / from);
    this.#half = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.#taps = kernel(cutoff, this.#half, this.#phases);
    // Half a kernel of silence before the first sample puts output 0 exactly on input 0.
    this.#history = new Float32Array(4096);
    this.#held = this.#half;
    this.#next = this.#half;
  }

  /** @param {Float32Array} input the next samples @returns {Float32Array} as many as are ready */
  push(input) {
    this.#append(input);
    const half = this.#half;
    const width = 2 * half + 1;
    const ready = Math.max(0, Math.ceil((this.#held - half - 1 - this.#next) / this.#step));
    const output = new Float32Array(ready);
    for (let at = 0; at < ready; at++) {
      const time = this.#next + at * this.#step;
      let centre = Math.floor(time);
      let phase = Math.round((time - centre) * this.#phases);
      if (phase === this.#phases) {
        phase = 0;
        centre += 1;
      }
      const first = centre - half;
      const row = phase * width;
      let sum = 0;
      for (let tap = 0; tap < width; tap++) sum += this.#history[first + tap] * this.#taps[row + tap];
      output[at] = sum;
    }
    this.#next += ready * this.#step;
    this.#discard(Math.floor(this.#next) - half);
    return output;
  }

  /** The samples that were still waiting for look-ahead, as if silence followed. */
  flush() {
    return this.push(new Float32Array(this.#half + 2));
  }

  #append(input) {
    const needed = this.#held + input.length;
    if (needed > this.#history.length) {
      const larger = new Float32Array(Math.max(needed, this.#history.length * 2));
      larger.set(this.#history.subarray(0, this.#held));
      this.#history = larger;
    }
    this.#history.set(input, this.#held);
    this.#held = needed;
  }

  #discard(count) {
    if (count <= 0) return;
    this.#history.copyWithin(0, count, this.#held);
    this.#held -= count;
    this.#next -= count;
  }
}

/** @returns {Float32Array} (phases, 2 * half + 1) taps, row by row; each row sums to one */
function kernel(cutoff, half, phases) {
  const width = 2 * half + 1;
  const taps = new Float32Array(phases * width);
  for (let phase = 0; phase < phases; phase++) {
    let sum = 0;
    for (let tap = 0; tap < width; tap++) {
      const x = tap - half - phase / phases;
      const value = sinc(x * cutoff) * kaiser(x / (half + 1));
      taps[phase * width + tap] = value;
      sum += value;
    }
    for (let tap = 0; tap < width; tap++) taps[phase * width + tap] /= sum;
  }
  return taps;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel0(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel0(KAISER_BETA);
}

/** The modified Bessel function of the first kind, order 0, by its power series. */
function bessel0(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; k < 40; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}
