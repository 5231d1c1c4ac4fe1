/**
 * The dialog in which a picture or a video becomes a face to talk to: who agreed, how far it has come, what was found.
 *
 * Steps: ask, work, done, failed. Closing it while it works ends the work.
 */
import { sentence } from "./avatar-api.js";
import { CropSquare } from "./crop-square.js";
import { drawFace } from "./face-mesh.js";

const STAGES = {
  sending: "Sending the file",
  queued: "Waiting for its turn",
  models: "Getting ready",
  upload: "Reading the file",
  face: "Looking for the face",
  portrait: "Cutting out the portrait",
  mouth: "Closing the mouth in each frame",
  layers: "Telling you from your background",
  encoding: "Learning to move",
  done: "Done",
};
const CONFLICT = 409;
const SENT_PERCENT = 10; // of the bar, for the upload; the rest is the server's

const $ = (id) => document.getElementById(id);

export class FaceMaker {
  #api;
  #listener;
  #dialog = $("maker");
  #file = null;
  #address = null; // of the file, for the picture of it
  #work = null; // AbortController while the server works
  #userId;
  #hasFace = false;
  #square = new CropSquare($("maker-square"), $("maker-zoom"));

  /**
   * @param {AvatarApi} api
   * @param {{onChoose: () => void, onMade: () => void}} listener `onChoose` to choose another file,
   *   `onMade` to talk with the face that is ready
   */
  constructor(api, listener) {
    this.#api = api;
    this.#listener = listener;
    $("maker-form").onsubmit = (event) => {
      event.preventDefault();
      this.#make();
    };
    $("maker-talk").onclick = () => {
      this.#dialog.close();
      this.#listener.onMade();
    };
    $("maker-choose").onchange = () => this.#showSquare();
    for (const button of this.#dialog.querySelectorAll("[data-adjust]")) button.onclick = () => this.#adjust();
    for (const button of this.#dialog.querySelectorAll("[data-choose]")) {
      button.onclick = () => {
        this.#dialog.close();
        this.#listener.onChoose();
      };
    }
    for (const button of this.#dialog.querySelectorAll("[data-close]")) button.onclick = () => this.#dialog.close();
    this.#dialog.addEventListener("close", () => this.#left());
  }

  /** @param {File} file picture or video @param {string} userId whose face it will be */
  open(file, userId) {
    this.#left();
    this.#file = file;
    this.#userId = userId;
    this.#address = URL.createObjectURL(file);
    const isVideo = file.type.startsWith("video/");
    $("maker-video").hidden = !isVideo;
    $("maker-picture").hidden = isVideo;
    $(isVideo ? "maker-video" : "maker-picture").src = this.#address;
    $("maker-mesh").hidden = true;
    $("maker-agreed").checked = $("maker-choose").checked = false;
    this.#showSquare();
    this.#show("ask", "Make a face of this");
    if (!this.#dialog.open) this.#dialog.showModal();
    $("maker-by").focus();
  }

  async #make() {
    const work = new AbortController();
    this.#work = work;
    this.#hasFace = false;
    const crop = this.#square.value;
    this.#show("work", "Making the face");
    this.#progress("sending", 0);
    try {
      const by = $("maker-by").value.trim();
      const onSent = (share) => this.#progress("sending", share * SENT_PERCENT);
      const prepare = () => this.#api.prepare(this.#userId, this.#file, by, crop, onSent, work.signal);
      await prepare().catch(async (error) => {
        if (error.status !== CONFLICT) throw error;
        await this.#api.cancel(this.#userId); // of a page that was left while it worked
        await prepare();
      });
      for await (const status of this.#api.follow(this.#userId, work.signal)) {
        this.#progress(status.stage, SENT_PERCENT + (status.percent * (100 - SENT_PERCENT)) / 100);
        if (status.status === "failed") {
          this.#fail(sentence(status.reason.message), status.reason.advice);
          return;
        }
        await this.#look(work);
        if (work.signal.aborted) return;
      }
      this.#work = null;
      this.#show("done", "This is the face");
      $("maker-talk").focus();
    } catch (error) {
      if (work.signal.aborted) return;
      this.#fail(error.message, error.hint ?? "");
    }
  }

  get #media() {
    return $("maker-picture").hidden ? $("maker-video") : $("maker-picture");
  }

  #showSquare() {
    const chooses = $("maker-choose").checked;
    $("maker-zoom-label").hidden = !chooses;
    this.#square.show(chooses ? this.#media : null);
  }

  /** Back to the question, with the square on the picture. */
  #adjust() {
    $("maker-mesh").hidden = true;
    $("maker-choose").checked = true;
    this.#show("ask", "Make a face of this");
    this.#showSquare();
    $("maker-square").focus();
  }

  /** Shows the face that was found, once. */
  async #look(work) {
    if (this.#hasFace) return;
    const face = await this.#api.face(this.#userId);
    if (face === null || work.signal.aborted) return;
    this.#hasFace = true;
    await drawFace($("maker-mesh"), face);
    this.#square.show(null);
    $("maker-mesh").hidden = false;
    $("maker-video").pause();
  }

  #fail(message, hint) {
    this.#work = null;
    $("maker-error").textContent = message;
    $("maker-advice").textContent = hint;
    $("maker-mesh").hidden = true;
    this.#show("failed", "That did not work");
    this.#dialog.querySelector("[data-step=failed] .primary").focus();
  }

  #progress(stage, percent) {
    $("maker-stage").textContent = STAGES[stage] ?? sentence(stage).slice(0, -1);
    $("maker-bar").value = percent;
  }

  #show(step, title) {
    this.#dialog.dataset.at = step;
    $("maker-title").textContent = title;
    for (const part of this.#dialog.querySelectorAll("[data-step]")) part.hidden = part.dataset.step !== step;
  }

  /** The dialog is closed, or begins anew: nothing goes on behind it. */
  #left() {
    if (this.#work !== null) {
      this.#work.abort();
      this.#work = null;
      this.#api.cancel(this.#userId).catch(() => {});
    }
    if (this.#address !== null) URL.revokeObjectURL(this.#address);
    this.#address = null;
    $("maker-video").removeAttribute("src");
    $("maker-picture").removeAttribute("src");
  }
}
