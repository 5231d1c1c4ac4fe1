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
 * Every option, method and event: docs/javascript-player.md.
 */
import { chooseDecoder } from "./choose-decoder.js";
import { LiveStats } from "./live-stats.js";
import { serverError } from "./player-errors.js";
import { SessionKeeper } from "./session-keeper.js";
import { SoundOutput } from "./sound-output.js";
import { Utterance } from "./utterance.js";
import { VideoPath } from "./video-path.js";
import * as wire from "./wire.js";

// Audio waiting at the server; its limit is 60 s by default, more is sent as this plays.
const MAX_BACKLOG_MS = 30_000;
const MAX_SOCKET_BACKLOG = 1 << 20;
const DECODER_HINT = "Close other programs or tabs that use this computer's processor.";
const PIPELINE_MS = 200; // video rendered ahead at the server
const USUAL_CODEC = "avc1.42C01F";
// Frames come without a pause: seconds without one mean a dead connection, which browsers notice late.
const SILENT_TICKS = 5;
const DEFAULTS = {
  server: new URL("..", import.meta.url).href,
  binary: true,
  events: true,
  decoder: "auto",
  speakingVideo: "speaking_0",
  reconnectForS: 60,
};

export class MuseTalkPlayer extends EventTarget {
  /** Counters and figures, always current; see live-stats.js. */
  stats = new LiveStats();
  /** INIT_SUCCESS.data of the live session; null while there is none. */
  info = null;
  /** offline, connecting, reconnecting, idle, speaking or action. */
  state = "offline";
  /** What the next `connect` asks for: "<width>x<height>", a number for a square, undefined for the server's default. */
  resolution;
  /** The clip under the lips while audio plays, one of INIT_SUCCESS.available_videos. */
  speakingVideo;

  #options;
  #keeper = null;
  #Decoder = null;
  #video;
  #sound;
  #stateSince = -1;
  #sentSamples = 0;
  #playedMs = 0;
  #utterance = null;
  #utteranceMs = 0; // audio position of its first sample
  #interruptDue = false; // asked for while there was no connection
  #statsTimer = 0;
  #silentTicks = 0;
  #seenFrames = 0;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} [options]
   * @param {string} [options.server] http(s) or ws(s) base address; default: where this script came from
   * @param {string} [options.userId] whose avatar; default: a random name, which gets the default avatar
   * @param {string|(() => string|Promise<string>)} [options.authToken] JWT, or what gives a fresh one each time
   * @param {"subprotocol"|"init"} [options.authBy] how the token travels; default: subprotocol, at the handshake
   * @param {boolean} [options.binary] binary frames, a quarter less traffic; default true
   * @param {boolean} [options.events] ask for the server's events; default true
   * @param {"auto"|"webcodecs"|"mse"} [options.decoder] default auto
   * @param {string|number} [options.resolution] one of `info.resolutions`, or its side; default: the server's
   * @param {number} [options.maxKbps] the peak rate of video that the network bears
   * @param {string} [options.speakingVideo] default speaking_0
   * @param {number} [options.reconnectForS] how long a lost connection is tried again; default 60, 0 is not at all
   * @param {AudioContext} [options.audioContext] default: one of its own
   */
  constructor(canvas, options = {}) {
    super();
    this.#options = { ...DEFAULTS, ...options };
    this.resolution = this.#options.resolution;
    this.speakingVideo = this.#options.speakingVideo;
    this.userId = this.#options.userId ?? wire.randomUserId();
    this.#sound = new SoundOutput(this.#options.audioContext, () => this.#unlocked());
    this.#video = new VideoPath(canvas, {
      clock: () => this.#utterance?.heardMs() ?? null,
      onPosition: (audioMs) => this.#follow(audioMs),
      onDraw: (frame, skipped) => this.#drawn(frame, skipped),
      onLost: (error) => this.#decoderLost(error),
      onBlocked: () => this.#videoBlocked(),
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
    return this.#keeper?.sessionId ?? null;
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
    return this.#sound.context;
  }

  /** The node that the sound goes through, for a meter or a volume. @returns {GainNode} */
  get audioOutput() {
    return this.#sound.node;
  }

  /**
   * Opens a session, and from then on keeps it: a lost connection is made again.
   * @returns {Promise<object>} INIT_SUCCESS.data; rejects with the error that was also dispatched
   */
  async connect() {
    this.close();
    const keeper = new SessionKeeper({
      prepare: () => this.#target(),
      patienceMs: this.#options.reconnectForS * 1000,
      listener: {
        onReady: (data, tookMs) => this.#begin(data, tookMs),
        onFrame: (frame) => this.#received(frame),
        onMessage: (message) => this.#handle(message),
        onError: (detail) => this.#fail(detail),
        onLost: (detail) => this.#lost(detail),
        onEnd: (detail, code) => this.#ended(detail, code),
      },
    });
    this.#keeper = keeper;
    this.#interruptDue = false;
    this.#setState("connecting");
    try {
      this.#Decoder = await chooseDecoder(this.#options.decoder, USUAL_CODEC);
    } catch (reason) {
      if (keeper === this.#keeper) this.#end();
      throw this.#fail(reason);
    }
    try {
      return await keeper.open();
    } catch (reason) {
      throw asError(reason); // dispatched by onEnd
    }
  }

  /** Ends the session politely; nothing happens where there is none. */
  close() {
    if (this.#keeper === null) return;
    this.#keeper.close();
    this.#end();
    this.#emit("closed", { code: 1000, byClient: true });
  }

  /** To be called within a click: lets out sound, and video, that the browser has blocked. */
  async unlock() {
    this.#video.unlock();
    await this.#sound.unlock();
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
      sent: () => {
        this.endSpeech();
        this.#reportAudio("sent", { durationMs: buffer.duration * 1000 });
      },
      report: (phase, detail) => this.#reportAudio(phase, detail),
      warn: (detail) => this.#fail({ ...detail, fatal: false }),
    });
    this.#utterance = utterance;
    utterance.done.then(() => {
      if (utterance === this.#utterance) this.#utterance = null;
    });
    const audible = await this.#sound.unlock();
    if (utterance === this.#utterance) {
      this.#utteranceMs = this.#sentSamples / 16;
      if (audible) utterance.soundThrough(this.audioOutput, this.#utteranceMs);
      else this.#soundLocked(utterance);
      utterance.send(this.#utteranceMs);
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
    this.#interruptDue = !this.#send("INTERRUPT", {});
  }

  /** @param {string} engine one of the engines of GET /health; the answer is an "event" of the name engine_switched. */
  switchEngine(engine) {
    this.#send("SWITCH_ENGINE", { engine });
  }

  /** What the next connection needs. */
  async #target() {
    const { authToken, authBy, binary, events, maxKbps } = this.#options;
    const token = typeof authToken === "function" ? await authToken() : authToken;
    const init = { user_id: this.userId, video_config: { fps: 25 } };
    const size = this.resolution;
    if (size) init.video_config.resolution = typeof size === "number" ? `${size}x${size}` : size;
    if (maxKbps) init.video_config.max_kbps = maxKbps;
    if (binary) init.frames = "binary"; // a server without it sends JSON frames all the same
    if (events) init.events = true;
    if (token && authBy === "init") init.auth_token = token;
    const protocols = token && authBy !== "init" ? ["musetalk.v1", `bearer.${token}`] : [];
    return { url: this.url, protocols, init };
  }

  #begin(data, tookMs) {
    const resumed = data.resumed ?? false;
    this.info = data;
    this.#video.begin(this.#Decoder, data);
    this.#sentSamples = (data.audio_received_ms ?? 0) * 16;
    this.#stateSince = -1;
    if (resumed) {
      if (this.#interruptDue) this.interrupt();
      this.#utterance?.resume(data.audio_received_ms);
    } else {
      this.#utterance?.end(false);
      this.#playedMs = this.#utteranceMs = 0;
    }
    this.stats.decoder = this.#Decoder.kind;
    this.stats.begin(data, tookMs);
    this.#silentTicks = 0;
    clearInterval(this.#statsTimer);
    this.#statsTimer = setInterval(() => this.#tick(), 1000);
    this.#setState("idle", data.default_video);
    this.#emit("ready", data);
  }

  #tick() {
    this.#silentTicks = this.stats.framesReceived === this.#seenFrames ? this.#silentTicks + 1 : 0;
    this.#seenFrames = this.stats.framesReceived;
    this.#emit("stats", this.stats.tick());
    if (this.#silentTicks >= SILENT_TICKS) this.#keeper?.abandon();
  }

  /** The connection is lost, and will be made again. */
  #lost(detail) {
    this.stats.reconnects += 1;
    this.#pause();
    this.#utterance?.hold();
    this.#setState("reconnecting");
    this.#emit("reconnecting", detail);
  }

  #ended(detail, code) {
    this.#end();
    this.#fail(detail);
    this.#emit("closed", { code, byClient: false });
  }

  #end() {
    this.#keeper = null;
    this.#pause();
    this.#utterance?.end(false);
    this.#setState("offline");
  }

  #pause() {
    this.info = null;
    clearInterval(this.#statsTimer);
    this.#video.end();
  }

  #handle({ type, data }) {
    if (type === "STATE_CHANGED") {
      this.#stateSince = this.stats.lastTimestamp + PIPELINE_MS;
      this.#setState(data.current_state, data.current_video);
    } else if (type === "INTERRUPTED") this.#emit("audio", { phase: "interrupted", ...data });
    else if (type === "ENGINE_SWITCHED") {
      this.stats.engine = data.engine;
      this.#emit("event", { event: "engine_switched", engine: data.engine });
    } else if (type === "EVENT") {
      const { event, audio_timestamp: audioMs = null, engine = null, reason = null, blendshapes = null } = data;
      if (event === "engine_changed") this.stats.engine = engine ?? this.stats.engine;
      this.#emit("event", { event, audioMs, engine, reason, blendshapes });
    }
    // Other replies need no answer, and later versions of the protocol may add some.
  }

  #received(frame) {
    this.stats.received(frame);
    if (!this.#video.receive(frame)) this.stats.undecoded += 1;
  }

  #follow(audioMs) {
    this.#playedMs = audioMs;
    this.#utterance?.follow(audioMs);
  }

  #decoderLost(error) {
    this.stats.decoderRestarts += 1;
    const message = `The video stuttered: ${error.message}.`;
    this.#fail({ code: "decoder", message, hint: DECODER_HINT, fatal: false });
  }

  #drawn(frame, skipped) {
    const heard = frame.audioMs === null ? null : (this.#utterance?.heardMs() ?? null);
    this.stats.drawn(frame, heard, skipped);
    // Frames that were on their way at a STATE_CHANGED still show the old state.
    const current = frame.state !== null && frame.timestamp > this.#stateSince;
    if (current && frame.state !== this.state) this.#setState(frame.state);
    this.#emit("frame", frame);
  }

  #backlogged() {
    const waiting = this.#sentSamples / 16 - Math.max(this.#playedMs, this.#utteranceMs);
    return waiting > MAX_BACKLOG_MS || this.#keeper.bufferedAmount > MAX_SOCKET_BACKLOG;
  }

  #sendAudio(samples, live) {
    const chunk = {
      format: "pcm_s16le",
      sample_rate: wire.SAMPLE_RATE,
      channels: 1,
      duration_ms: samples.length / 16,
      data: wire.toBase64(wire.pcmBytes(samples)),
    };
    const videoState = { type: "speaking", base_video: this.speakingVideo };
    if (!this.#send("GENERATE", { audio_chunk: chunk, video_state: videoState })) return false;
    this.#sentSamples += samples.length;
    if (live) this.stats.sentLive(this.#sentSamples / 16);
    return true;
  }

  #reportAudio(phase, detail) {
    this.stats.soundResyncs += detail.resyncs ?? 0;
    this.stats.latencyMs = detail.latencyMs ?? this.stats.latencyMs;
    this.#emit("audio", { phase, ...detail });
  }

  /** It is spoken without sound, until a click lets the rest of it be heard. */
  #soundLocked(utterance) {
    utterance.staySilent();
    this.#fail({
      code: "autoplay",
      message: "The browser keeps the sound off until you click or tap this page.",
      hint: "The lips move already.",
      fatal: false,
    });
  }

  #videoBlocked() {
    this.#sound.awaitGesture();
    this.#fail({
      code: "autoplay-video",
      message: "The browser holds the video until you click or tap this page.",
      hint: "Phones do so to save power.",
      fatal: false,
    });
  }

  /** The person has clicked: what was blocked may start. */
  #unlocked() {
    this.#video.unlock();
    if (this.audioContext.state !== "running") return;
    this.#utterance?.unmute(this.audioOutput);
    this.#emit("unlocked", {});
  }

  #send(type, data) {
    return this.#keeper?.send(type, data) ?? false;
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
    return asError(detail);
  }
}

function asError(detail) {
  return Object.assign(new Error(detail.message), detail);
}
