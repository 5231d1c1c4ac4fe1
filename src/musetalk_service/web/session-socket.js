/** One session on one WebSocket: INIT and its answer, the envelope, and frames in either wire form. */
import { closeError, connectError, serverError } from "./player-errors.js";
import * as wire from "./wire.js";

export class SessionSocket {
  /** The id that the server confirmed; null before INIT_SUCCESS and after the end. */
  sessionId = null;

  #socket;
  #listener;

  /**
   * @param {string} url WebSocket address with the user id
   * @param {object} init INIT.data
   * @param {object} listener `onReady(data, tookMs)`, `onFrame(WireFrame)`, `onMessage({type, data})`,
   *   `onError(detail)`, `onEnd(closeCode)`; none is called after `close`
   */
  constructor(url, init, listener) {
    const began = performance.now();
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "INIT", session_id: wire.uuid4(), data: init }));
    };
    socket.onmessage = ({ data }) => this.#received(data, began);
    socket.onclose = (event) => this.#closed(event);
    this.#socket = socket;
    this.#listener = listener;
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

  #received(text, began) {
    if (this.#listener === null) return;
    if (typeof text !== "string") {
      this.#listener.onFrame(wire.frameFromBinary(text));
      return;
    }
    const message = JSON.parse(text);
    switch (message.type) {
      case "INIT_SUCCESS":
        this.sessionId = message.session_id;
        this.#listener.onReady(message.data, performance.now() - began);
        break;
      case "VIDEO_FRAME":
      case "ACTION_FRAME":
        this.#listener.onFrame(wire.frameFromJson(message, text.length));
        break;
      case "ERROR":
        this.#listener.onError(serverError(message.data));
        break;
      default:
        this.#listener.onMessage(message);
    }
  }

  async #closed(event) {
    const detail = this.sessionId ? closeError(event) : await connectError(event, this.#socket.url);
    this.sessionId = null;
    this.#listener?.onError(detail);
    this.#listener?.onEnd(event.code);
  }
}
