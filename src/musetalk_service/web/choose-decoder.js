/** Which of the decoders this browser has. */
import { WebCodecsDecoder } from "./h264-decoder.js";
import { MseDecoder } from "./mse-decoder.js";

const DECODERS = { webcodecs: [WebCodecsDecoder], mse: [MseDecoder], auto: [WebCodecsDecoder, MseDecoder] };

/**
 * @param {"auto"|"webcodecs"|"mse"} wish auto is WebCodecs where there is one, else Media Source Extensions
 * @param {string} codec as in MIME types
 * @returns {Promise<Function>} the class
 * @throws {object} why there is none, as `{code, message, hint, fatal}`
 */
export async function chooseDecoder(wish, codec) {
  if (!(wish in DECODERS)) throw new TypeError(`decoder must be one of ${Object.keys(DECODERS).join(", ")}`);
  for (const Decoder of DECODERS[wish]) {
    if (await Decoder.supports(codec)) return Decoder;
  }
  throw globalThis.isSecureContext ? UNSUPPORTED : INSECURE;
}

const INSECURE = {
  code: "insecure",
  message: "This browser only decodes live video on a secure page.",
  hint: "Open this page over https://, or as http://localhost on the machine that runs the server.",
  fatal: true,
};

const UNSUPPORTED = {
  code: "unsupported",
  message: "This browser cannot decode live H.264 video.",
  hint: "Use a current Chrome, Edge, Firefox (130 or later) or Safari (16.4 or later).",
  fatal: true,
};
