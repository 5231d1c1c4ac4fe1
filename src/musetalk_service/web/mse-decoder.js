/**
 * H.264 decoding through Media Source Extensions (https://www.w3.org/TR/media-source-2/), for pages where
 * the browser withholds WebCodecs: plain http from another machine, and older browsers.
 *
 * The access units become fragmented MP4 for a video element, and each picture that it shows is handed
 * on, so that everything behind a decoder (sound, statistics, the canvas) is the same for both. The
 * element's time line has no holes: frame n lies at 40 n ms, whatever the server left out.
 */
import { NAL, TIMESCALE, codecOf, initSegment, join, mediaSegment, nalType, nalUnits } from "./fmp4.js";

const FRAME_TICKS = 40;
const FRAME_S = FRAME_TICKS / TIMESCALE;

// Behind the newest frame the element plays a little faster, far behind it jumps.
const HURRY_BEYOND_S = 0.3;
const HURRIED_BELOW_S = 0.12;
const HURRY_RATE = 1.15;
const JUMP_BEYOND_S = 1;
const JUMP_TO_S = 0.06;
// Played video is removed in large steps: removing costs about as much as appending.
const KEEP_S = 3;
const REMOVE_EVERY_S = 8;

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;
const mimeOf = (codec) => `video/mp4; codecs="${codec}"`;

/** Decodes through a video element. */
export class MseDecoder {
  static kind = "mse";

  #options;
  #video = null;
  #source = null;
  #buffer = null;
  #codec;
  #parameters = null; // {sps, pps} of the newest initialization segment
  #waiting = []; // segments that the source buffer has not got yet
  #timestamps = new Map(); // frame number on the element's time line -> the frame's timestamp
  #count = 0;
  #newest = -1; // frame number handed on last
  #jump = false;

  /**
   * @param {object} options
   * @param {string} options.codec
   * @param {number} options.width
   * @param {number} options.height
   * @param {HTMLElement} options.beside the element is put next to this one; nobody sees it
   * @param {Function} options.onFrame
   * @param {Function} options.onLost
   * @param {Function} options.onBlocked the browser wants a click before it plays
   */
  constructor(options) {
    this.#options = options;
    this.#codec = options.codec;
  }

  /** @param {string} codec @returns {boolean} whether this browser can */
  static supports(codec) {
    return Source !== undefined && Source.isTypeSupported(mimeOf(codec));
  }

  /** @returns {boolean} false where the unit was left out, waiting for a key frame */
  decode({ data, key, timestamp }) {
    if (this.#parameters === null && !key) return false;
    const units = nalUnits(data);
    if (key && !this.#describe(units)) return false;
    if (this.#source === null) this.#open();
    this.#timestamps.set(this.#count, timestamp);
    this.#waiting.push(
      mediaSegment({
        sequence: this.#count + 1,
        time: this.#count * FRAME_TICKS,
        duration: FRAME_TICKS,
        key,
        units: units.filter((unit) => ![NAL.sps, NAL.pps, NAL.delimiter].includes(nalType(unit))),
      }),
    );
    this.#count += 1;
    this.#append();
    return true;
  }

  /** Goes on at the newest frame, leaving out what lies before it. */
  jumpToEdge() {
    this.#jump = true;
  }

  /** To be called within a click where `onBlocked` was. */
  unlock() {
    this.#video?.play().catch(() => this.#options.onBlocked());
  }

  close() {
    const video = this.#video;
    this.#video = this.#source = this.#buffer = this.#parameters = null;
    this.#waiting = [];
    this.#timestamps.clear();
    this.#count = 0;
    this.#newest = -1;
    if (video === null) return;
    URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    video.load(); // lets go of the decoder
    video.remove();
  }

  /** Notes new parameter sets, which a new initialization segment then carries. @returns {boolean} there are any */
  #describe(units) {
    const sps = units.find((unit) => nalType(unit) === NAL.sps) ?? this.#parameters?.sps;
    const pps = units.find((unit) => nalType(unit) === NAL.pps) ?? this.#parameters?.pps;
    if (sps === undefined || pps === undefined) return false;
    const old = this.#parameters;
    if (old && same(old.sps, sps) && same(old.pps, pps)) return true;
    this.#parameters = { sps: sps.slice(), pps: pps.slice() };
    const { width, height } = this.#options;
    this.#waiting.push(initSegment({ sps, pps, width, height }));
    this.#codec = codecOf(sps);
    return true;
  }

  #open() {
    const video = document.createElement("video");
    const source = new Source();
    Object.assign(video, { muted: true, playsInline: true, disableRemotePlayback: true });
    video.setAttribute("aria-hidden", "true");
    // Browsers slow down a video that is nowhere on the page: this one is there, but a speck.
    video.style.cssText = "position:absolute;width:2px;height:2px;opacity:0.01;pointer-events:none";
    this.#options.beside.before(video);
    video.onerror = () => this.#restart(video, new Error(video.error?.message || "the browser rejected the video"));
    source.onsourceopen = () => {
      if (source !== this.#source) return;
      this.#buffer = source.addSourceBuffer(mimeOf(this.#codec));
      this.#buffer.onupdateend = () => this.#appended(video);
      this.#append();
    };
    this.#video = video;
    this.#source = source;
    video.src = URL.createObjectURL(source);
    this.#watch(video);
    this.#play(video);
  }

  #append() {
    if (this.#buffer === null || this.#buffer.updating || this.#waiting.length === 0) return;
    try {
      this.#buffer.appendBuffer(join(...this.#waiting));
      this.#waiting = [];
    } catch (error) {
      this.#restart(this.#video, error);
    }
  }

  #appended(video) {
    if (video !== this.#video) return;
    this.#keepUp(video);
    this.#append();
    const { buffered, currentTime } = video;
    if (this.#buffer?.updating || buffered.length === 0) return;
    if (currentTime - buffered.start(0) > KEEP_S + REMOVE_EVERY_S) this.#buffer.remove(0, currentTime - KEEP_S);
  }

  #keepUp(video) {
    const { buffered } = video;
    if (buffered.length === 0) return;
    const end = buffered.end(buffered.length - 1);
    const behind = end - video.currentTime;
    if (behind > JUMP_BEYOND_S || (this.#jump && behind > FRAME_S)) {
      video.currentTime = end - JUMP_TO_S;
      video.playbackRate = 1;
    } else if (behind > HURRY_BEYOND_S) video.playbackRate = HURRY_RATE;
    else if (behind < HURRIED_BELOW_S) video.playbackRate = 1;
    this.#jump = false;
    if (video.paused) this.#play(video); // browsers pause hidden pages' videos
  }

  #play(video) {
    video.play().catch((error) => {
      if (video === this.#video && error.name === "NotAllowedError") this.#options.onBlocked();
    });
  }

  /** Hands on each picture that the element shows. */
  #watch(video) {
    const exact = "requestVideoFrameCallback" in video; // else the element's clock is a good guess
    const next = () => (exact ? video.requestVideoFrameCallback(look) : requestAnimationFrame(look));
    const look = (_, shown) => {
      if (video !== this.#video) return;
      next();
      if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
      const time = shown?.mediaTime ?? video.currentTime;
      this.#shown(video, Math.floor(time / FRAME_S + 0.1));
    };
    next();
  }

  async #shown(video, number) {
    const timestamp = this.#timestamps.get(number);
    if (number <= this.#newest || timestamp === undefined) return;
    this.#newest = number;
    for (const old of this.#timestamps.keys()) {
      if (old > number) break;
      this.#timestamps.delete(old);
    }
    const picture = await createImageBitmap(video);
    if (video === this.#video) this.#options.onFrame(picture, timestamp);
    else picture.close();
  }

  #restart(video, error) {
    if (video !== this.#video) return;
    this.close();
    this.#options.onLost(error);
  }
}

function same(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}
