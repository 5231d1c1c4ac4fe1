/** The microphone as a stream of 40 ms chunks for `MuseTalkPlayer.sendPcm`. */

const WORKLET = new URL("./mic-worklet.js", import.meta.url);

/** What to tell a person, by the name of getUserMedia's DOMException. */
const REFUSALS = {
  NotAllowedError: {
    code: "mic-refused",
    message: "The microphone is blocked for this page.",
    hint: "Allow it in the browser's address bar, then press Microphone again.",
  },
  NotFoundError: {
    code: "mic-missing",
    message: "No microphone was found.",
    hint: "Connect one, or play a sample or a file instead.",
  },
  SecurityError: {
    code: "mic-refused",
    message: "This page is not allowed to use a microphone.",
    hint: "The site that embeds it has to permit that, or play a sample instead.",
  },
  NotReadableError: {
    code: "mic-busy",
    message: "The microphone is in use by another program.",
    hint: "Close that program, then press Microphone again.",
  },
};

const INSECURE = {
  code: "insecure",
  message: "Browsers give a page the microphone only on https:// or localhost.",
  hint: "Open this page over https://, or play a sample instead.",
};

export class Microphone {
  /** While true it stays on, but nothing of it is handed on. */
  muted = false;

  #context;
  #stream = null;
  #node = null;
  #starting = false;

  /** @param {AudioContext} context */
  constructor(context) {
    this.#context = context;
  }

  get running() {
    return this.#node !== null;
  }

  /**
   * Asks for the microphone and starts.
   * @param {(pcm: Int16Array, level: number) => void} onChunk 640 samples at 16 kHz, and their RMS, 0 to 1
   * @param {() => void} onLost the microphone went away (unplugged, permission taken back)
   * @throws {Error & {code: string, hint?: string}}
   */
  async start(onChunk, onLost) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw refusal(INSECURE);
    }
    if (this.#starting || this.running) return; // the browser is still asking
    this.#starting = true;
    try {
      await this.#context.audioWorklet.addModule(WORKLET);
      this.#stream = await navigator.mediaDevices.getUserMedia({
        // Echo cancellation keeps what the loudspeaker says out; what is left of it would make the face talk to itself.
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
      await this.#context.resume();
    } catch (error) {
      this.stop();
      throw refusal(REFUSALS[error.name] ?? { code: "mic", message: `The microphone did not start: ${error.message}` });
    } finally {
      this.#starting = false;
    }
    this.#node = new AudioWorkletNode(this.#context, "microphone-chunks", { numberOfOutputs: 0 });
    this.#node.port.onmessage = ({ data }) => this.muted || onChunk(data.pcm, data.level);
    new MediaStreamAudioSourceNode(this.#context, { mediaStream: this.#stream }).connect(this.#node);
    this.#stream.getTracks()[0].onended = onLost;
  }

  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#node?.port.close();
    this.#node?.disconnect();
    this.#stream = this.#node = null;
  }
}

function refusal(detail) {
  return Object.assign(new Error(detail.message), detail);
}
