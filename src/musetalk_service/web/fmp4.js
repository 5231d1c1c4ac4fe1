/**
 * H.264 access units in fragmented MP4, for Media Source Extensions.
 * Boxes after ISO/IEC 14496-12 and, for `avc1` and `avcC`, 14496-15. Pure functions, one video track.
 */

/** Ticks per second of all times in the boxes. */
export const TIMESCALE = 1000;

/** NAL unit types of H.264, table 7-1, that matter here. */
export const NAL = { slice: 1, idr: 5, sps: 7, pps: 8, delimiter: 9 };

const IDENTITY = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000];
const SYNC_SAMPLE = 0x02000000; // depends on no other
const OTHER_SAMPLE = 0x01010000; // depends on others, no place to start

/**
 * @param {Uint8Array} accessUnit Annex B, start codes of three or four bytes
 * @returns {Uint8Array[]} its NAL units, without start codes (views, not copies)
 */
export function nalUnits(accessUnit) {
  const units = [];
  let begin = -1;
  let at = 0;
  while (at + 2 < accessUnit.length) {
    if (accessUnit[at + 2] > 1) at += 3;
    else if (accessUnit[at] === 0 && accessUnit[at + 1] === 0 && accessUnit[at + 2] === 1) {
      if (begin >= 0) units.push(trimmed(accessUnit, begin, at));
      begin = at + 3;
      at = begin;
    } else at += 1;
  }
  if (begin >= 0) units.push(trimmed(accessUnit, begin, accessUnit.length));
  return units.filter(({ length }) => length > 0);
}

/** @param {Uint8Array} unit @returns {number} its nal_unit_type */
export function nalType(unit) {
  return unit[0] & 0x1f;
}

/** @param {Uint8Array} sps @returns {string} as MIME types name it, for example avc1.42C01F */
export function codecOf(sps) {
  const hex = Array.from(sps.subarray(1, 4), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `avc1.${hex.toUpperCase()}`;
}

/**
 * The initialization segment (ftyp, moov).
 * @param {{sps: Uint8Array, pps: Uint8Array, width: number, height: number}} track
 * @returns {Uint8Array}
 */
export function initSegment({ sps, pps, width, height }) {
  const media = box(
    "mdia",
    full("mdhd", 0, 0, u32(0, 0, TIMESCALE, 0), u16(0x55c4, 0)), // language "und"
    full("hdlr", 0, 0, u32(0), text("vide"), u32(0, 0, 0), text("video\0")),
    box(
      "minf",
      full("vmhd", 0, 1, u16(0, 0, 0, 0)),
      box("dinf", full("dref", 0, 0, u32(1), full("url ", 0, 1))),
      box(
        "stbl",
        full("stsd", 0, 0, u32(1), sampleEntry(sps, pps, width, height)),
        full("stts", 0, 0, u32(0)),
        full("stsc", 0, 0, u32(0)),
        full("stsz", 0, 0, u32(0, 0)),
        full("stco", 0, 0, u32(0)),
      ),
    ),
  );
  const track = box(
    "trak",
    full("tkhd", 0, 3, u32(0, 0, 1, 0, 0, 0, 0), u16(0, 0, 0, 0), u32(...IDENTITY, width << 16, height << 16)),
    media,
  );
  const movie = box(
    "moov",
    full("mvhd", 0, 0, u32(0, 0, TIMESCALE, 0, 0x10000), u16(0x0100, 0), u32(0, 0, ...IDENTITY, 0, 0, 0, 0, 0, 0, 2)),
    track,
    box("mvex", full("trex", 0, 0, u32(1, 1, 0, 0, 0))),
  );
  return join(box("ftyp", text("iso6"), u32(1), text("isomiso6avc1")), movie);
}

/**
 * A media segment (moof, mdat) of one frame.
 * @param {object} frame
 * @param {number} frame.sequence of the segment, from 1
 * @param {number} frame.time decode time in ticks; also the time it is shown, for there are no B-frames
 * @param {number} frame.duration in ticks
 * @param {boolean} frame.key
 * @param {Uint8Array[]} frame.units its NAL units
 * @returns {Uint8Array}
 */
export function mediaSegment({ sequence, time, duration, key, units }) {
  const data = box("mdat", ...units.flatMap((unit) => [u32(unit.length), unit]));
  const moof = (offset) =>
    box(
      "moof",
      full("mfhd", 0, 0, u32(sequence)),
      box(
        "traf",
        full("tfhd", 0, 0x020000, u32(1)), // offsets count from this moof
        full("tfdt", 1, 0, u32(Math.floor(time / 2 ** 32), time % 2 ** 32)),
        // One sample: its place, duration, size and flags.
        full("trun", 0, 0x701, u32(1, offset, duration, data.length - 8, key ? SYNC_SAMPLE : OTHER_SAMPLE)),
      ),
    );
  return join(moof(moof(0).length + 8), data);
}

/** @param {...Uint8Array} parts @returns {Uint8Array} one after another */
export function join(...parts) {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function sampleEntry(sps, pps, width, height) {
  const configuration = box(
    "avcC",
    Uint8Array.of(1, sps[1], sps[2], sps[3], 0xff, 0xe1), // lengths of four bytes, one SPS
    u16(sps.length),
    sps,
    Uint8Array.of(1),
    u16(pps.length),
    pps,
  );
  return box(
    "avc1",
    u16(0, 0, 0, 1), // reserved, data reference 1
    u32(0, 0, 0, 0),
    u16(width, height),
    u32(0x480000, 0x480000, 0), // 72 dpi
    u16(1), // one frame a sample
    new Uint8Array(32), // no compressor's name
    u16(24, 0xffff),
    configuration,
  );
}

/** A NAL unit ends with a bit that is set; zero bytes behind it belong to the next start code. */
function trimmed(bytes, begin, end) {
  while (end > begin && bytes[end - 1] === 0) end -= 1;
  return bytes.subarray(begin, end);
}

function box(type, ...parts) {
  const size = parts.reduce((sum, { length }) => sum + length, 8);
  return join(u32(size), text(type), ...parts);
}

function full(type, version, flags, ...parts) {
  return box(type, u32(version * 2 ** 24 + flags), ...parts);
}

function u32(...values) {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  values.forEach((value, at) => view.setUint32(at * 4, value));
  return new Uint8Array(view.buffer);
}

function u16(...values) {
  const view = new DataView(new ArrayBuffer(values.length * 2));
  values.forEach((value, at) => view.setUint16(at * 2, value));
  return new Uint8Array(view.buffer);
}

function text(ascii) {
  return Uint8Array.from(ascii, (letter) => letter.charCodeAt(0));
}
