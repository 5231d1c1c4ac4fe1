/** One session on one WebSocket: INIT and its answer, the envelope, and frames in either wire form. */
import { closeError, connectError, serverError } from "./player-errors.js";
import * as wire from "./wire.js";

const ABANDONED_MS = 30_000;

export class SessionSocket {
  /** The id that the server confirmed; null before INIT_SUCCESS and after the end. */
  sessionId = null;

  #socket;
  #listener;
  #init;
  #began = performance.now();
  #refusal = null; // the server's ERROR before INIT_SUCCESS
  #goodbye = null; // CLOSE_ACK.reason

  /**
   * @param {object} target
   * @param {string} target.url WebSocket address with the user id
   * @param {string[]} target.protocols subprotocols to offer
   * @param {object} target.init INIT.data; a `resume_token` that has become void is left out in a second try
   * @param {object} listener `onReady(data, tookMs)`, `onFrame(WireFrame)`, `onMessage({type, data})`,
   *   `onError(detail)`, `onEnd(detail, closeCode)`; none is called after `close`
   */
  constructor({ url, protocols, init }, listener) {
    const socket = new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#sendInit();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = (event) => this.#closed(event);
    this.#socket = socket;
    this.#listener = listener;
    this.#init = init;
  }

  /** Bytes that the network has not taken yet. */
  get bufferedAmount() {
    return this.#socket.bufferedAmount;
  }

  /** @returns {boolean} false where there is no session to send it in */
  send(type, data) {
    if (this.sessionId === null || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ type, session_id: this.sessionId, data }));
    return true;
  }

  /** Says CLOSE and closes; the listener hears no more. */
  close() {
    this.#listener = null;
    this.send("CLOSE", {});
    this.sessionId = null;
    this.#socket.close(1000);
  }

  /** Takes a connection that has gone silent as broken. */
  abandon() {
    const socket = this.#socket;
    socket.onclose = socket.onmessage = null;
    // Should it still live, closing it now would end the session that the next connection resumes.
    setTimeout(() => socket.close(), ABANDONED_MS);
    this.#closed(new CloseEvent("close", { code: 1006 }));
  }

  #sendInit() {
    this.#socket.send(JSON.stringify({ type: "INIT", session_id: wire.uuid4(), data: this.#init }));
  }

  #received(text) {
    if (this.#listener === null) return;
    if (typeof text !== "string") {
      this.#listener.onFrame(wire.frameFromBinary(text));
      return;
    }
    const message = JSON.parse(text);
    switch (message.type) {
      case "INIT_SUCCESS":
        this.sessionId = message.session_id;
        this.#listener.onReady(message.data, performance.now() - this.#began);
        break;
      case "VIDEO_FRAME":
      case "ACTION_FRAME":
        this.#listener.onFrame(wire.frameFromJson(message, text.length));
        break;
      case "ERROR":
        this.#refused(message.data);
        break;
      case "CLOSE_ACK":
        this.#goodbye = message.data.reason;
        break;
      default:
        this.#listener.onMessage(message);
    }
  }

  #refused(data) {
    if (this.sessionId !== null) {
      this.#listener.onError(serverError(data));
    } else if (this.#init.resume_token && data.details?.field === "data.resume_token") {
      this.#init = { ...this.#init, resume_token: undefined }; // too late: a new session, then
      this.#sendInit();
    } else {
      this.#refusal = data;
      this.#socket.close(1000);
    }
  }

  async #closed(event) {
    const live = this.sessionId !== null;
    this.sessionId = null;
    const detail = live
      ? closeError(event, this.#goodbye)
      : await connectError(event, this.#socket.url, this.#refusal);
    this.#listener?.onEnd(detail, event.code);
  }
}
