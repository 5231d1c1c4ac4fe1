/**
 * AudioWorklet: whatever rate the microphone has in, 16 kHz mono s16 chunks of 40 ms out.
 * Posts `{pcm: Int16Array(640), level}` with the chunk's RMS, 0 to 1.
 */
import { Resampler } from "./resampler.js";
import { CHUNK_SAMPLES, SAMPLE_RATE, floatToPcm } from "./wire.js";

class MicrophoneChunks extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, SAMPLE_RATE);
  #chunk = new Float32Array(CHUNK_SAMPLES);
  #filled = 0;

  process([channels]) {
    if (channels.length > 0) this.#take(this.#resampler.push(mix(channels)));
    return true;
  }

  #take(samples) {
    let at = 0;
    while (at < samples.length) {
      const part = samples.subarray(at, at + CHUNK_SAMPLES - this.#filled);
      this.#chunk.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === CHUNK_SAMPLES) this.#post();
    }
  }

  #post() {
    const pcm = floatToPcm(this.#chunk);
    const power = this.#chunk.reduce((sum, value) => sum + value * value, 0) / CHUNK_SAMPLES;
    this.port.postMessage({ pcm, level: Math.sqrt(power) }, [pcm.buffer]);
    this.#filled = 0;
  }
}

/** @param {Float32Array[]} channels @returns {Float32Array} their mean */
function mix(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, at) => channels.reduce((sum, samples) => sum + samples[at], 0) / channels.length);
}

registerProcessor("microphone-chunks", MicrophoneChunks);
