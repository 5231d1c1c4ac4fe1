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
import { closeError, connectError, serverError } from "./player-errors.js";
import { Resampler } from "./resampler.js";
import { SyncedSound } from "./synced-sound.js";
import * as wire from "./wire.js";

// Audio waiting at the server; its limit is 60 s by default, more is sent as this plays.
const MAX_BACKLOG_MS = 30_000;
const MAX_SOCKET_BACKLOG = 1 << 20;
// A server that never says which audio its frames follow gets the sound this long after the delay it reported.
const UNSYNCED_GRACE_MS = 3000;

export class MuseTalkPlayer extends EventTarget {
  /** Counters and figures, always current; see live-stats.js. */
  stats = new LiveStats();
  /** The id of the live session, as the server confirmed it; null while there is none. */
  sessionId = null;
  /** INIT_SUCCESS.data of the live session. */
  info = null;
  state = "offline";

  #options;
  #canvas;
  #socket = null;
  #decoder = null;
  #presenter;
  #pending = new Map(); // timestamp -> WireFrame that the decoder has
  #sentSamples = 0;
  #playedMs = 0;
  #utterance = null;
  #sound = null;
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
    this.#presenter = new FramePresenter(canvas, (frame) => this.#drawn(frame));
  }

  /** The WebSocket address that `connect` opens. */
  get url() {
    const url = new URL(`musetalk/v1/ws/${encodeURIComponent(this.userId)}`, this.#options.server);
    url.protocol = url.protocol.replace(/^http/, "ws");
    return url.href;
  }

  get connected() {
    return this.sessionId !== null;
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
    if (reason) return Promise.reject(this.#fail({ ...reason, fatal: true }));
    const began = performance.now();
    const socket = new WebSocket(this.url);
    const sessionId = wire.uuid4();
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#setState("connecting");
    return new Promise((resolve, reject) => {
      socket.onopen = () => {
        const { authToken, binary } = this.#options;
        const data = { user_id: this.userId, video_config: { resolution: "512x512", fps: 25 } };
        if (authToken) data.auth_token = authToken;
        if (binary) data.frames = "binary";
        socket.send(JSON.stringify({ type: "INIT", session_id: sessionId, data }));
      };
      socket.onmessage = ({ data }) => {
        if (socket !== this.#socket) return;
        if (typeof data !== "string") {
          this.#received(wire.frameFromBinary(data));
          return;
        }
        const message = JSON.parse(data);
        if (message.type === "INIT_SUCCESS") {
          this.#begin(message, performance.now() - began);
          resolve(this.info);
        } else {
          const error = this.#handle(message, data.length);
          if (error) reject(error); // means something only before INIT_SUCCESS
        }
      };
      socket.onclose = async (event) => {
        if (socket !== this.#socket) {
          reject(new Error("closed while connecting"));
          return;
        }
        const hadSession = this.connected;
        this.#end();
        const detail = hadSession ? closeError(event) : await connectError(event, this.#options.server);
        reject(this.#fail(detail));
        this.#emit("closed", { code: event.code, byClient: false });
      };
    });
  }

  /** Ends the session politely; nothing happens where there is none. */
  close() {
    const socket = this.#socket;
    if (socket === null) return;
    if (this.connected) this.#send("CLOSE", {});
    this.#end();
    socket.close(1000);
    this.#emit("closed", { code: 1000, byClient: true });
  }

  /** Live audio for the lips, without sound. @param {Int16Array} samples 16 kHz mono, best 640 at a time */
  sendPcm(samples) {
    this.#sendAudio(samples, true);
  }

  /** No more live audio for now: the last sounds are rendered without waiting for what could follow. */
  endSpeech() {
    if (this.connected && this.info.protocol_version) this.#send("END_OF_SPEECH", {});
  }

  /**
   * Says an utterance: its audio goes to the server in a burst, its sound plays with the lips.
   * What still plays is interrupted.
   * @param {AudioBuffer} buffer any rate, any number of channels
   * @returns {Promise<boolean>} true when it was heard to its end, false when interrupted
   */
  async playAudio(buffer) {
    if (!this.connected) throw this.#fail(serverError({ code: "INVALID_SESSION", message: "not connected" }));
    if (this.#utterance) this.interrupt();
    const utterance = {};
    const done = new Promise((resolve) => (utterance.finish = resolve));
    utterance.sentAt = performance.now();
    this.#utterance = utterance;
    const audible = await this.#unlockSound();
    if (this.#utterance !== utterance) return false;
    const startMs = this.#sentSamples / 16;
    const pcm = toSpeech(buffer);
    this.#sound = new SyncedSound(this.audioContext, buffer, this.audioOutput, startMs, () => this.#soundEnded());
    const sound = this.#sound;
    if (audible) this.#presenter.setClock(() => sound.heardMs());
    const late = (this.info.delay_ms ?? 0) + UNSYNCED_GRACE_MS;
    utterance.timer = setTimeout(() => this.#startUnsynced(sound), late);
    await this.#burst(pcm, utterance);
    return done;
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
    this.#stopSound(false);
    if (this.connected) this.#send("INTERRUPT", {});
  }

  #begin({ session_id: sessionId, data }, tookMs) {
    this.sessionId = sessionId;
    this.info = data;
    this.#canvas.width = data.width ?? 512;
    this.#canvas.height = data.height ?? 512;
    this.#sentSamples = this.#playedMs = 0;
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
    this.#socket = null;
    this.sessionId = null;
    clearInterval(this.#statsTimer);
    this.#stopSound(false);
    this.#decoder?.close();
    this.#decoder = null;
    this.#pending.clear();
    this.#presenter.clear();
    this.#setState("offline");
  }

  /** @returns {Error|undefined} what the server complained about */
  #handle(message, size) {
    const { type, data } = message;
    switch (type) {
      case "VIDEO_FRAME":
      case "ACTION_FRAME":
        return this.#received(wire.frameFromJson(message, size));
      case "STATE_CHANGED":
        return this.#setState(data.current_state, data.current_video);
      case "INTERRUPTED":
        return this.#emit("audio", { phase: "interrupted", ...data });
      case "ERROR":
        return this.#fail(serverError(data));
      default: // replies that need no answer, and what later versions of the protocol add
    }
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
      if (this.#sound?.follow(frame.audioMs)) this.#soundStarted(frame.audioMs);
    }
    this.#presenter.push(picture, frame);
  }

  #decoderLost(error) {
    this.stats.decoderRestarts += 1;
    this.#pending.clear();
    this.#fail({ code: "decoder", message: `The video decoder started again: ${error.message}`, fatal: false });
  }

  #drawn(frame) {
    const heard = frame.audioMs === null ? null : (this.#sound?.heardMs() ?? null);
    this.stats.drawn(frame, heard, this.#presenter.skipped);
    if (frame.state !== this.state) this.#setState(frame.state);
    this.#emit("frame", frame);
  }

  async #burst(pcm, utterance) {
    for (let at = 0; at < pcm.length; at += wire.CHUNK_SAMPLES) {
      const chunk = new Int16Array(wire.CHUNK_SAMPLES); // the last one is filled up with silence
      chunk.set(pcm.subarray(at, at + wire.CHUNK_SAMPLES));
      this.#sendAudio(chunk, false);
      while (this.#utterance === utterance && this.#backlogged()) await sleep(100);
      if (this.#utterance !== utterance) return;
    }
    this.endSpeech();
    this.#emit("audio", { phase: "sent", durationMs: pcm.length / 16 });
  }

  #backlogged() {
    const waiting = this.#sentSamples / 16 - Math.max(this.#playedMs, this.#sound?.startMs ?? 0);
    return waiting > MAX_BACKLOG_MS || this.#socket.bufferedAmount > MAX_SOCKET_BACKLOG;
  }

  #sendAudio(samples, live) {
    if (!this.connected) return;
    const chunk = {
      format: "pcm_s16le",
      sample_rate: wire.SAMPLE_RATE,
      channels: 1,
      duration_ms: Math.round(samples.length / 16),
      data: wire.toBase64(wire.pcmBytes(samples)),
    };
    this.#send("GENERATE", { audio_chunk: chunk, video_state: { type: "speaking", base_video: "speaking_0" } });
    this.#sentSamples += samples.length;
    if (live) this.stats.sentLive(this.#sentSamples / 16);
  }

  #soundStarted(positionMs) {
    clearTimeout(this.#utterance.timer);
    this.stats.latencyMs = performance.now() - this.#utterance.sentAt;
    this.#emit("audio", { phase: "started", positionMs, latencyMs: this.stats.latencyMs });
  }

  #startUnsynced(sound) {
    if (sound !== this.#sound || sound.started) return;
    this.#presenter.setClock(null);
    sound.start(sound.startMs);
    this.#fail({ code: "unsynced", message: "The server sent no lip-synced frames for this audio.", fatal: false });
  }

  #soundEnded() {
    this.stats.soundResyncs += this.#sound.resyncs;
    this.#stopSound(true);
    this.#emit("audio", { phase: "ended" });
  }

  #stopSound(heard) {
    this.#presenter.setClock(null);
    this.#sound?.stop();
    this.#sound = null;
    clearTimeout(this.#utterance?.timer);
    this.#utterance?.finish(heard);
    this.#utterance = null;
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
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ type, session_id: this.sessionId, data }));
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

/** @param {AudioBuffer} buffer @returns {Int16Array} the mean of its channels at 16 kHz */
function toSpeech(buffer) {
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let at = 0; at < mono.length; at++) mono[at] += samples[at] / buffer.numberOfChannels;
  }
  if (buffer.sampleRate === wire.SAMPLE_RATE) return wire.floatToPcm(mono);
  const resampler = new Resampler(buffer.sampleRate, wire.SAMPLE_RATE);
  const head = resampler.push(mono);
  const tail = resampler.flush();
  const speech = new Float32Array(head.length + tail.length);
  speech.set(head);
  speech.set(tail, head.length);
  return wire.floatToPcm(speech);
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
