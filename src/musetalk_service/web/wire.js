/**
 * The byte-level parts of the MuseTalk wire protocol: base64, UUIDs and the binary frame layout.
 * Pure functions, no state; usable in a page, a worker or a worklet.
 */

/** Samples per second that the service lip-syncs at. */
export const SAMPLE_RATE = 16000;
/** Samples in one 40 ms chunk, the unit that clients send. */
export const CHUNK_SAMPLES = 640;

/** @param {Uint8Array} bytes @returns {string} */
export function toBase64(bytes) {
  if (bytes.toBase64) return bytes.toBase64();
  let text = "";
  // String.fromCharCode takes its bytes as arguments, of which engines allow a limited number.
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(text);
}

/** @param {string} text @returns {Uint8Array} */
export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return bytes;
}

/** A random UUID, version 4 (RFC 9562, 5.4). `crypto.randomUUID` exists only in secure contexts. */
export function uuid4() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** A short random name that the service accepts as a user id. */
export function randomUserId() {
  return `web_${uuid4().slice(0, 8)}`;
}

/**
 * 16-bit samples as little-endian bytes, whatever the order of this machine.
 * @param {Int16Array} samples @returns {Uint8Array}
 */
export function pcmBytes(samples) {
  const view = new DataView(new ArrayBuffer(samples.length * 2));
  for (let at = 0; at < samples.length; at++) view.setInt16(at * 2, samples[at], true);
  return new Uint8Array(view.buffer);
}

/** @param {Float32Array} samples -1 to 1 @returns {Int16Array} */
export function floatToPcm(samples) {
  const pcm = new Int16Array(samples.length);
  for (let at = 0; at < samples.length; at++) {
    pcm[at] = Math.round(Math.max(-1, Math.min(1, samples[at])) * 32767);
  }
  return pcm;
}

/**
 * One video frame as the player uses it, from either wire form.
 * @typedef {object} WireFrame
 * @property {Uint8Array} data one H.264 access unit, Annex B
 * @property {number} timestamp ms since the session's first frame
 * @property {?number} audioMs position in the accepted audio that the mouth follows, or null
 * @property {boolean} key
 * @property {boolean} action
 * @property {?number} progress of the action, 0 to 1, or null
 * @property {?string} state idle, speaking or action; null from servers that do not say
 * @property {number} wireBytes size of the message
 */

/**
 * @param {{type: string, data: object}} message VIDEO_FRAME or ACTION_FRAME
 * @param {number} wireBytes
 * @returns {WireFrame}
 */
export function frameFromJson({ type, data }, wireBytes) {
  const bytes = fromBase64(data.frame_data);
  const action = type === "ACTION_FRAME";
  return {
    data: bytes,
    timestamp: data.frame_timestamp,
    audioMs: data.audio_timestamp ?? null,
    key: data.is_keyframe ?? hasIdr(bytes),
    action,
    progress: data.action_progress ?? null,
    state: data.state ?? (action ? "action" : null),
    wireBytes,
  };
}

const BINARY_HEADER = 24;
const BINARY_STATES = ["idle", "speaking", "action"];

/** @param {ArrayBuffer} buffer one binary frame message @returns {WireFrame} */
export function frameFromBinary(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < BINARY_HEADER || view.getUint16(0) !== 0x4d46 || view.getUint8(2) !== 1) {
    throw new Error("not a version 1 binary frame");
  }
  const flags = view.getUint8(3);
  const audio = view.getUint32(12);
  const action = (flags & 2) !== 0;
  return {
    data: new Uint8Array(buffer, BINARY_HEADER, view.getUint32(20)),
    timestamp: view.getUint32(8),
    audioMs: audio === 0xffffffff ? null : audio,
    key: (flags & 1) !== 0,
    action,
    progress: action ? view.getUint16(16) / 65535 : null,
    state: BINARY_STATES[view.getUint8(18)] ?? null,
    wireBytes: buffer.byteLength,
  };
}

/** Whether an Annex B access unit holds an IDR slice (NAL type 5); for servers that do not say. */
function hasIdr(bytes) {
  for (let at = 0; at + 3 < bytes.length; at++) {
    if (bytes[at] === 0 && bytes[at + 1] === 0 && bytes[at + 2] === 1 && (bytes[at + 3] & 0x1f) === 5) {
      return true;
    }
  }
  return false;
}
