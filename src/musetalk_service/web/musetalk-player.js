/**
 * A live talking face on a canvas, from a MuseTalk service. Works on any site, needs no build step:
 *
 *   <canvas id="face"></canvas>  <button id="say">Say it</button>
 *   <script type="module">
 *     import { MuseTalkPlayer } from "https://avatar.example.com/static/musetalk-player.js";
 *     const player = new MuseTalkPlayer(document.querySelector("#face"));
 *     player.addEventListener("error", ({ detail }) => console.warn(detail.message, detail.hint));
 *     await player.connect(); // the idle face appears, no click needed
 *     document.querySelector("#say").onclick = async () => {
 *       const wav = await (await fetch("/hello.wav")).arrayBuffer();
 *       await player.playAudio(await player.audioContext.decodeAudioData(wav)); // lips and sound together
 *     };
 *   </script>
 *
 * Events (CustomEvent, see `detail`): `ready` the server's INIT_SUCCESS data; `frame` each one drawn;
 * `state` {state, video}; `stats` once a second; `audio` {phase: sent, started, ended or interrupted};
 * `error` {code, message, hint, fatal, retryAfterMs}; `closed` {code, byClient}.
 */
import { unsupportedReason, WebCodecsDecoder } from "./h264-decoder.js";
import { FramePresenter } from "./frame-presenter.js";
import { LiveStats } from "./live-stats.js";
import { serverError } from "./player-errors.js";
import { SessionSocket } from "./session-socket.js";
import { Utterance } from "./utterance.js";
import * as wire from "./wire.js";

// Audio waiting at the server; its limit is 60 s by default, more is sent as this plays.
const MAX_BACKLOG_MS = 30_000;
const MAX_SOCKET_BACKLOG = 1 << 20;
const DECODER_HINT = "Close other programs or tabs that use this computer's processor.";
const PIPELINE_MS = 200; // video rendered ahead at the server

export class MuseTalkPlayer extends EventTarget {
  /** Counters and figures, always current; see live-stats.js. */
  stats = new LiveStats();
  /** INIT_SUCCESS.data of the live session; null while there is none. */
  info = null;
  state = "offline";

  #options;
  #canvas;
  #session = null;
  #abandon = () => {};
  #decoder = null;
  #presenter;
  #pending = new Map(); // timestamp -> WireFrame that the decoder has
  #stateSince = -1;
  #sentSamples = 0;
  #playedMs = 0;
  #utterance = null;
  #utteranceMs = 0; // audio position of its first sample
  #context = null;
  #output = null;
  #statsTimer = 0;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} [options]
   * @param {string} [options.server] http(s) or ws(s) base address; default: where this script came from
   * @param {string} [options.userId] whose avatar; default: a random name, which gets the default avatar
   * @param {string} [options.authToken] JWT, where the server asks for one
   * @param {boolean} [options.binary] binary frames, a quarter less traffic; default true
   * @param {AudioContext} [options.audioContext] default: one of its own
   */
  constructor(canvas, options = {}) {
    super();
    this.#options = { binary: true, server: new URL("..", import.meta.url).href, ...options };
    this.#canvas = canvas;
    this.userId = this.#options.userId ?? wire.randomUserId();
    this.#context = this.#options.audioContext ?? null;
    this.#presenter = new FramePresenter(canvas, {
      clock: () => this.#utterance?.heardMs() ?? null,
      onDraw: (frame) => this.#drawn(frame),
    });
  }

  /** The WebSocket address that `connect` opens. */
  get url() {
    const url = new URL(`musetalk/v1/ws/${encodeURIComponent(this.userId)}`, this.#options.server);
    url.protocol = url.protocol.replace(/^http/, "ws");
    return url.href;
  }

  /** The id of the live session, as the server confirmed it; null while there is none. */
  get sessionId() {
    return this.#session?.sessionId ?? null;
  }

  get connected() {
    return this.sessionId !== null;
  }

  /** Whether an utterance of `playAudio` is on its way or heard. */
  get playing() {
    return this.#utterance !== null;
  }

  /** The AudioContext of the sound. Browsers keep it silent until the person has clicked something. */
  get audioContext() {
    this.#context ??= new AudioContext({ latencyHint: "interactive" });
    return this.#context;
  }

  /** The node that the sound goes through, for a meter or a volume. @returns {GainNode} */
  get audioOutput() {
    if (this.#output === null) {
      this.#output = new GainNode(this.audioContext);
      this.#output.connect(this.audioContext.destination);
    }
    return this.#output;
  }

  /** Opens a session. @returns {Promise<object>} INIT_SUCCESS.data; rejects with the error that was also dispatched */
  connect() {
    this.close();
    const reason = unsupportedReason();
    this.#setState(reason ? "offline" : "connecting");
    if (reason) return Promise.reject(this.#fail({ ...reason, fatal: true }));
    return new Promise((resolve, reject) => {
      this.#abandon = () => reject(new Error("closed while connecting"));
      this.#session = new SessionSocket(this.url, this.#initData(), {
        onReady: (data, tookMs) => {
          this.#begin(data, tookMs);
          resolve(data);
        },
        onFrame: (frame) => this.#received(frame),
        onMessage: (message) => this.#handle(message),
        onError: (detail) => {
          if (detail.fatal) this.#end();
          reject(this.#fail(detail)); // means something only before INIT_SUCCESS
        },
        onEnd: (code) => this.#emit("closed", { code, byClient: false }),
      });
    });
  }

  /** Ends the session politely; nothing happens where there is none. */
  close() {
    if (this.#session === null) return;
    this.#session.close();
    this.#abandon();
    this.#end();
    this.#emit("closed", { code: 1000, byClient: true });
  }

  /** Live audio for the lips, without sound. @param {Int16Array} samples 16 kHz mono, best 640 at a time */
  sendPcm(samples) {
    this.#sendAudio(samples, true);
  }

  /** No more live audio for now: the last sounds are rendered without waiting for what could follow. */
  endSpeech() {
    if (this.info?.protocol_version) this.#send("END_OF_SPEECH", {});
  }

  /**
   * Says an utterance: its audio goes to the server in a burst, its sound plays with the lips.
   * What still plays is interrupted.
   * @param {AudioBuffer} buffer any rate, any number of channels
   * @returns {Promise<boolean>} true when it was heard to its end, false when interrupted
   */
  async playAudio(buffer) {
    if (!this.connected) throw this.#fail(serverError({ code: "INVALID_SESSION", message: "not connected" }));
    if (this.playing) this.interrupt();
    const utterance = new Utterance(buffer, {
      delayMs: this.info.delay_ms ?? 0,
      send: (chunk) => this.#sendAudio(chunk, false),
      backlogged: () => this.#backlogged(),
      report: (phase, detail) => this.#reportAudio(phase, detail),
      warn: (detail) => this.#fail({ ...detail, fatal: false }),
    });
    this.#utterance = utterance;
    utterance.done.then(() => {
      if (utterance === this.#utterance) this.#utterance = null;
    });
    const audible = await this.#unlockSound();
    if (utterance === this.#utterance) {
      this.#utteranceMs = this.#sentSamples / 16;
      if (audible) utterance.soundThrough(this.audioOutput, this.#utteranceMs);
      else utterance.staySilent();
      if (await utterance.send()) {
        this.endSpeech();
        this.#emit("audio", { phase: "sent", durationMs: buffer.duration * 1000 });
      }
    }
    return utterance.done;
  }

  /** @param {"idle"|"speaking"} target @param {string} [baseVideo] one of INIT_SUCCESS.available_videos */
  setState(target, baseVideo = `${target}_0`) {
    this.#send("STATE_CHANGE", { target_state: target, base_video: baseVideo });
  }

  /** @param {1|2} index */
  action(index) {
    this.#send("ACTION", { action_index: index });
  }

  /** Barge-in: the sound stops at once, the server drops what it has not shown (it answers INTERRUPTED). */
  interrupt() {
    this.#utterance?.end(false);
    this.#send("INTERRUPT", {});
  }

  #initData() {
    const { authToken, binary } = this.#options;
    const data = { user_id: this.userId, video_config: { resolution: "512x512", fps: 25 } };
    if (authToken) data.auth_token = authToken;
    if (binary) data.frames = "binary"; // a server without it sends JSON frames all the same
    return data;
  }

  #begin(data, tookMs) {
    this.info = data;
    this.#canvas.width = data.width ?? 512;
    this.#canvas.height = data.height ?? 512;
    this.#sentSamples = this.#playedMs = this.#utteranceMs = 0;
    this.#stateSince = -1;
    this.#decoder = new WebCodecsDecoder({
      codec: data.codec ?? "avc1.42C01F",
      onFrame: (picture, timestamp) => this.#decoded(picture, timestamp),
      onLost: (error) => this.#decoderLost(error),
    });
    this.stats.begin(data, tookMs);
    this.#statsTimer = setInterval(() => this.#emit("stats", this.stats.tick()), 1000);
    this.#setState("idle", data.default_video);
    this.#emit("ready", data);
  }

  #end() {
    this.#session = null;
    this.info = null;
    clearInterval(this.#statsTimer);
    this.#utterance?.end(false);
    this.#decoder?.close();
    this.#decoder = null;
    this.#pending.clear();
    this.#presenter.clear();
    this.#setState("offline");
  }

  #handle({ type, data }) {
    if (type === "STATE_CHANGED") {
      this.#stateSince = this.stats.lastTimestamp + PIPELINE_MS;
      this.#setState(data.current_state, data.current_video);
    } else if (type === "INTERRUPTED") this.#emit("audio", { phase: "interrupted", ...data });
    // Other replies need no answer, and later versions of the protocol may add some.
  }

  #received(frame) {
    if (this.#decoder === null) return;
    this.stats.received(frame);
    this.#pending.set(frame.timestamp, frame);
    if (!this.#decoder?.decode(frame)) {
      this.#pending.delete(frame.timestamp);
      this.stats.undecoded += 1;
    }
  }

  #decoded(picture, timestamp) {
    const frame = this.#pending.get(timestamp);
    this.#pending.delete(timestamp);
    if (frame === undefined) return picture.close();
    frame.data = null;
    if (frame.audioMs !== null) {
      this.#playedMs = frame.audioMs;
      this.#utterance?.follow(frame.audioMs);
    }
    this.#presenter.push(picture, frame);
  }

  #decoderLost(error) {
    this.stats.decoderRestarts += 1;
    this.#pending.clear();
    this.#fail({ code: "decoder", message: `The video stuttered: ${error.message}.`, hint: DECODER_HINT, fatal: false });
  }

  #drawn(frame) {
    const heard = frame.audioMs === null ? null : (this.#utterance?.heardMs() ?? null);
    this.stats.drawn(frame, heard, this.#presenter.skipped);
    // Frames that were on their way at a STATE_CHANGED still show the old state.
    const current = frame.state !== null && frame.timestamp > this.#stateSince;
    if (current && frame.state !== this.state) this.#setState(frame.state);
    this.#emit("frame", frame);
  }

  #backlogged() {
    const waiting = this.#sentSamples / 16 - Math.max(this.#playedMs, this.#utteranceMs);
    return waiting > MAX_BACKLOG_MS || this.#session.bufferedAmount > MAX_SOCKET_BACKLOG;
  }

  #sendAudio(samples, live) {
    const chunk = {
      format: "pcm_s16le",
      sample_rate: wire.SAMPLE_RATE,
      channels: 1,
      duration_ms: Math.round(samples.length / 16),
      data: wire.toBase64(wire.pcmBytes(samples)),
    };
    const videoState = { type: "speaking", base_video: "speaking_0" };
    if (!this.#send("GENERATE", { audio_chunk: chunk, video_state: videoState })) return;
    this.#sentSamples += samples.length;
    if (live) this.stats.sentLive(this.#sentSamples / 16);
  }

  #reportAudio(phase, detail) {
    this.stats.soundResyncs += detail.resyncs ?? 0;
    this.stats.latencyMs = detail.latencyMs ?? this.stats.latencyMs;
    this.#emit("audio", { phase, ...detail });
  }

  /** @returns {Promise<boolean>} whether the browser lets sound out */
  async #unlockSound() {
    const context = this.audioContext;
    if (context.state !== "running") await Promise.race([context.resume(), sleep(500)]);
    if (context.state === "running") return true;
    this.#fail({
      code: "autoplay",
      message: "The browser keeps the sound off until you click the page.",
      hint: "Click anywhere, then play again.",
      fatal: false,
    });
    return false;
  }

  #send(type, data) {
    return this.#session?.send(type, data) ?? false;
  }

  #setState(state, video) {
    this.state = this.stats.state = state;
    this.#emit("state", { state, video });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Dispatches an error and returns it, to be thrown where there is a caller. */
  #fail(detail) {
    this.#emit("error", detail);
    return Object.assign(new Error(detail.message), detail);
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
