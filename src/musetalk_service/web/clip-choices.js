/** How the face waits and speaks: the avatar's clips as two lists to choose from. */

/** What the default avatar's clips show; others are named by number. */
const MANNERS = {
  idle_0: "Varied",
  idle_1: "Looking around",
  idle_2: "Thoughtful",
  idle_3: "Smiling",
  idle_4: "Shifting weight",
  idle_5: "Bright",
  idle_6: "Listening",
  speaking_0: "Neutral",
  speaking_1: "Lively",
  speaking_2: "Emphatic",
  speaking_3: "Slow",
  speaking_4: "Friendly",
  speaking_5: "Serious",
  speaking_6: "Storytelling",
  speaking_7: "Questioning",
};

export class ClipChoices {
  #player;
  #lists;
  #base = "idle"; // the state whose clip plays when nothing else does

  /**
   * @param {MuseTalkPlayer} player
   * @param {{idle: HTMLSelectElement, speaking: HTMLSelectElement}} lists
   */
  constructor(player, lists) {
    this.#player = player;
    this.#lists = lists;
    for (const kind of ["idle", "speaking"]) lists[kind].onchange = () => this.#chosen(kind);
  }

  /** @param {string[]} available INIT_SUCCESS.available_videos @param {boolean} resumed the session knows the choice */
  offer(available, resumed) {
    for (const [kind, list] of Object.entries(this.#lists)) {
      const names = available.filter((name) => name.startsWith(`${kind}_`));
      const chosen = names.includes(list.value) ? list.value : names[0];
      list.replaceChildren(...names.map((name) => new Option(MANNERS[name] ?? numbered(name), name)));
      list.value = chosen;
      list.disabled = names.length < 2;
    }
    this.#player.speakingVideo = this.#lists.speaking.value;
    if (resumed) return;
    this.#base = "idle";
    if (this.#lists.idle.selectedIndex > 0) this.apply("idle");
  }

  /** Lets the face wait in a state, with the clip that is chosen for it. @param {"idle"|"speaking"} kind */
  apply(kind) {
    this.#base = kind;
    this.#player.setState(kind, this.#lists[kind].value);
  }

  #chosen(kind) {
    this.#player.speakingVideo = this.#lists.speaking.value;
    // Another way to wait is for now; another way to speak waits for the next words.
    if (kind === "idle" || this.#base === "speaking") this.apply(kind);
  }
}

/** @param {string} clip for example idle_2 @returns {string} */
function numbered(clip) {
  return `No. ${Number(clip.split("_")[1]) + 1}`;
}
