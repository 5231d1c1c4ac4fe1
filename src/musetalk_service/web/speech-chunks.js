/** A recording as the chunks that the service takes. */
import { Resampler } from "./resampler.js";
import { CHUNK_SAMPLES, SAMPLE_RATE, floatToPcm } from "./wire.js";

/**
 * Resamples as it goes, about a second at a time, so that a long recording does not hold up the page.
 * @param {AudioBuffer} buffer any rate, any number of channels
 * @yields {Int16Array} 640 samples, 16 kHz mono; the last chunk is filled up with silence
 */
export function* speechChunks(buffer) {
  const resampler = new Resampler(buffer.sampleRate, SAMPLE_RATE);
  const total = Math.round(buffer.duration * SAMPLE_RATE);
  let chunk = new Float32Array(CHUNK_SAMPLES);
  let done = 0;
  for (let at = 0; done < total; at += buffer.sampleRate) {
    const part = mixDown(buffer, at, Math.min(at + buffer.sampleRate, buffer.length));
    const ready = part.length > 0 ? resampler.push(part) : resampler.flush();
    for (const sample of ready.subarray(0, total - done)) {
      chunk[done % CHUNK_SAMPLES] = sample;
      done += 1;
      if (done % CHUNK_SAMPLES === 0 || done === total) {
        yield floatToPcm(chunk);
        chunk = new Float32Array(CHUNK_SAMPLES);
      }
    }
  }
}

/** @returns {Float32Array} the mean of the channels, from sample `from` up to `to`; empty past the end */
function mixDown(buffer, from, to) {
  const mono = new Float32Array(Math.max(0, to - from));
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let at = 0; at < mono.length; at++) mono[at] += samples[from + at] / buffer.numberOfChannels;
  }
  return mono;
}
