/** The visitor's own face: made, chosen, deleted. It is kept at the server under the user id that this page remembers. */
import { FaceMaker } from "./face-maker.js";
import { randomUserId } from "./wire.js";

const REMEMBERED = "musetalk.user";

const $ = (id) => document.getElementById(id);

export class OwnFace {
  #player;
  #api;
  #page;
  #maker;
  #ownId;
  #pictureOf = null; // address of the thumbnail

  /** The user id under which this browser has made a face, if it has. @returns {string|undefined} */
  static remembered() {
    try {
      return localStorage.getItem(REMEMBERED) ?? undefined;
    } catch {
      return undefined; // storage is off
    }
  }

  /**
   * @param {MuseTalkPlayer} player
   * @param {AvatarApi} api
   * @param {{connect: () => void, tell: (what: object) => void}} page
   * @param {boolean} isKnown whether the player's user may have a face already
   */
  constructor(player, api, page, isKnown) {
    this.#player = player;
    this.#api = api;
    this.#page = page;
    this.#ownId = player.userId;
    this.#maker = new FaceMaker(api, {
      onChoose: () => $("face-file").click(),
      onMade: () => this.#made(),
    });
    $("face-file").onchange = ({ target }) => {
      this.make(target.files[0]);
      target.value = "";
    };
    for (const button of document.querySelectorAll("[data-face]")) {
      button.onclick = () => this.#choose(button.dataset.face === "own");
    }
    $("face-delete").onclick = () => this.#remove();
    if (isKnown) this.#look();
  }

  /** @param {File|undefined} file a picture or a video */
  make(file) {
    if (file) this.#maker.open(file, this.#ownId);
  }

  async #made() {
    remember(this.#ownId);
    this.#choose(true);
    await this.#look();
  }

  /** Another user has another face, and one whom the server does not know the default one. */
  #choose(own) {
    this.#player.userId = own ? this.#ownId : randomUserId();
    this.#press();
    this.#page.connect();
  }

  async #remove() {
    try {
      await this.#api.remove(this.#ownId);
    } catch (error) {
      this.#page.tell(error);
      return;
    }
    remember(null);
    await this.#show(false);
    this.#choose(true); // the server has ended the session
  }

  async #look() {
    await this.#show((await this.#api.find(this.#ownId)) !== null);
  }

  async #show(found) {
    $("own-face").hidden = !found;
    $("face-name").textContent = found ? "Use another face" : "Use a face of your own";
    $("face-drop").querySelector("svg").toggleAttribute("hidden", found);
    $("face-thumb").hidden = !found;
    this.#press();
    if (this.#pictureOf !== null) URL.revokeObjectURL(this.#pictureOf);
    this.#pictureOf = found ? await this.#api.thumbnail(this.#ownId) : null;
    $("face-thumb").src = this.#pictureOf ?? "";
  }

  #press() {
    const own = this.#player.userId === this.#ownId;
    for (const button of document.querySelectorAll("[data-face]")) {
      button.setAttribute("aria-pressed", String((button.dataset.face === "own") === own));
    }
  }
}

function remember(userId) {
  try {
    if (userId === null) localStorage.removeItem(REMEMBERED);
    else localStorage.setItem(REMEMBERED, userId);
  } catch {
    // storage is off: the face lasts as long as the page
  }
}
