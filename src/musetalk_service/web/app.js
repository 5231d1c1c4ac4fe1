/** The demo page: connects the player to the controls. */
import { MuseTalkPlayer } from "./musetalk-player.js";
import { AvatarApi } from "./avatar-api.js";
import { ClipChoices } from "./clip-choices.js";
import { OwnFace } from "./own-face.js";
import { Microphone } from "./microphone.js";
import { showEndpoints } from "./endpoints.js";
import { SoundMeter } from "./sound-meter.js";
import { StatusChip } from "./status-chip.js";

const $ = (id) => document.getElementById(id);
const SAMPLE = new URL("./sample.wav", import.meta.url);
const CANNOT_RETRY = ["insecure", "unsupported"];
const WILL_NOT_HELP = [...CANNOT_RETRY, "auth", "refused"];
const TAPS = { autoplay: "Tap for sound", "autoplay-video": "Tap to start" };

// A token comes behind the #, which browsers do not send to any server: /#token=...
const authToken = new URLSearchParams(location.hash.slice(1)).get("token") ?? undefined;
const query = new URLSearchParams(location.search);
const userId = query.get("user") ?? OwnFace.remembered();
const decoder = query.get("decoder") ?? "auto";

const player = new MuseTalkPlayer($("face"), { authToken, userId, decoder });
window.musetalk = player;
const meter = new SoundMeter($("meter"));
const chip = new StatusChip($("chip-text"));
const clips = new ClipChoices(player, { idle: $("idle-clip"), speaking: $("speaking-clip") });
const avatars = new AvatarApi(new URL("..", import.meta.url), authToken);
const face = new OwnFace(player, avatars, { connect, tell }, userId !== undefined);
let microphone = null;
let endCode = null; // of the error that ended the last session

/* What the person sees of the session */

let shown = null;
player.addEventListener("state", ({ detail: { state } }) => {
  if (state === shown) return;
  shown = state;
  $("frame").dataset.state = state;
  chip.state(state);
  $("controls").disabled = !player.connected;
  for (const button of document.querySelectorAll("[data-action]")) {
    button.setAttribute("aria-disabled", String(state === "action"));
  }
  if (state === "idle" || state === "speaking") {
    for (const button of document.querySelectorAll("[data-target]")) {
      button.setAttribute("aria-pressed", String(button.dataset.target === state));
    }
  }
});

player.addEventListener("event", ({ detail }) => {
  chip.event(detail.event);
  if (detail.event === "degraded") {
    tell({ code: "degraded", message: "The lips do not move for a moment.", hint: detail.reason ?? "" });
  } else if (detail.event === "recovered") quiet("degraded");
});

player.addEventListener("ready", ({ detail }) => {
  $("veil").hidden = true;
  offerSizes(detail);
  clips.offer(detail.available_videos, detail.resumed ?? false);
});

player.addEventListener("reconnecting", ({ detail: { error, attempt } }) => {
  if (attempt < 2) return; // most are over before anybody has read it
  veil({ message: error.message, hint: "Trying to connect again\u2026" }, false);
});

player.addEventListener("stats", ({ detail: stats }) => {
  $("fps").textContent = Math.round(stats.fpsDrawn);
  $("kbps").textContent = Math.round(stats.kbitPerSecond);
  $("dropped").textContent = stats.dropped;
  $("engine").textContent = stats.engine ?? "–";
  $("latency-name").textContent = stats.latencyMs === null ? "Delay" : "Latency";
  const latency = stats.latencyMs ?? stats.delayMs;
  $("latency").textContent = latency === null ? "–" : Math.round(latency);
});

player.addEventListener("frame", () => $("frame").classList.add("seen"), { once: true });

player.addEventListener("error", ({ detail }) => {
  if (!detail.fatal) {
    if (detail.code in TAPS) {
      $("unlock").textContent = TAPS[detail.code];
      $("unlock").hidden = false;
    }
    // A decoder that starts again is back within a second: no news, unless it keeps happening.
    if (detail.code !== "decoder" || player.stats.decoderRestarts > 3) tell(detail);
    return;
  }
  stopMicrophone();
  quiet();
  endCode = detail.code;
  const held = $("controls").contains(document.activeElement);
  veil(detail, !CANNOT_RETRY.includes(detail.code));
  if (held) $("reconnect").focus(); // its own place is disabled now
});

player.addEventListener("unlocked", () => {
  $("unlock").hidden = true;
  quiet("autoplay", "autoplay-video");
});

player.addEventListener("audio", ({ detail: { phase } }) => {
  if (phase === "started") meter.watch(player.audioOutput);
  else if (phase !== "sent") meter.rest();
});

/** The sizes that this server has, and a frame of the shape of the one that is shown. */
function offerSizes({ width, height, resolutions }) {
  const shown = `${width}x${height}`;
  const sizes = resolutions?.length ? resolutions : [shown];
  $("resolution").replaceChildren(...sizes.map((size) => new Option(size.replace("x", " x "), size)));
  $("resolution").value = shown;
  $("resolution").disabled = sizes.length < 2;
  $("frame").style.setProperty("--shape", width / height);
}

function veil({ message, hint = "" }, withButton) {
  $("veil-text").textContent = message;
  $("veil-hint").textContent = hint;
  $("reconnect").hidden = !withButton;
  $("veil").hidden = false;
}

function tell({ code = "", message, hint = "" }) {
  $("notice").dataset.code = code;
  $("notice-text").textContent = message;
  $("notice-hint").textContent = hint;
  $("notice").hidden = false;
}

/** Takes the notice away; with codes, only one of these. */
function quiet(...codes) {
  if (codes.length === 0 || codes.includes($("notice").dataset.code)) $("notice").hidden = true;
}

async function connect() {
  quiet();
  $("veil").hidden = true;
  try {
    await player.connect();
  } catch {
    // the error event has shown it
  }
}

/* Giving it a voice */

async function play(name, load) {
  quiet();
  $("announce").textContent = `Playing ${name}.`;
  // Within the click, so that the browser lets the sound out.
  player.audioContext.resume();
  let sound;
  try {
    sound = await player.audioContext.decodeAudioData(await load());
  } catch {
    tell({ message: `${name} could not be read as sound.`, hint: "Try a WAV, MP3, M4A or Ogg file." });
    return;
  }
  $("interrupt").classList.add("live");
  muteMicrophone(true);
  try {
    const heard = await player.playAudio(sound);
    $("announce").textContent = heard ? "Finished." : "Stopped.";
  } catch {
    // the error event has shown it
  }
  $("interrupt").classList.toggle("live", player.playing);
  muteMicrophone(player.playing);
}

async function playSample() {
  await play("The sample", async () => {
    const answer = await fetch(SAMPLE);
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer.arrayBuffer();
  });
}

async function playFile(file) {
  if (!file || !player.connected) return;
  $("file-name").textContent = file.name;
  await play(file.name, () => file.arrayBuffer());
}

async function toggleMicrophone() {
  if (microphone?.running) {
    stopMicrophone();
    return;
  }
  quiet();
  microphone ??= new Microphone(player.audioContext);
  try {
    await microphone.start(
      (pcm, level) => {
        player.sendPcm(pcm);
        meter.show(level);
      },
      () => {
        stopMicrophone();
        tell({ message: "The microphone went away.", hint: "Connect it again, then press Microphone." });
      },
    );
    if (player.playing) player.interrupt(); // the person wants to talk
    showMicrophone();
  } catch (error) {
    tell(error);
  }
}

function stopMicrophone() {
  if (!microphone?.running) return;
  microphone.stop();
  microphone.muted = false;
  player.endSpeech();
  meter.rest();
  showMicrophone();
}

/** One voice at a time, and no echo: while a recording plays, the microphone waits. */
function muteMicrophone(muted) {
  if (!microphone?.running || microphone.muted === muted) return;
  microphone.muted = muted;
  if (muted) player.endSpeech();
  showMicrophone();
}

function showMicrophone() {
  const { running, muted } = microphone;
  $("mic").setAttribute("aria-pressed", String(running));
  $("mic-text").textContent = running && muted ? "Muted meanwhile" : "Microphone";
  $("announce").textContent = running ? `The microphone is ${muted ? "muted" : "on"}.` : "The microphone is off.";
}

/* The controls */

$("sample").onclick = playSample;
$("mic").onclick = toggleMicrophone;
$("interrupt").onclick = () => {
  stopMicrophone();
  player.interrupt();
};
$("reconnect").onclick = connect;
$("notice-close").onclick = () => quiet();
$("unlock").onclick = () => player.unlock();
$("resolution").onchange = ({ target }) => {
  player.resolution = target.value;
  connect(); // the size is settled when a session begins
};
$("file").onchange = async ({ target }) => {
  await playFile(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
};
for (const button of document.querySelectorAll("[data-target]")) {
  button.onclick = () => clips.apply(button.dataset.target);
}
for (const button of document.querySelectorAll("[data-action]")) {
  button.onclick = () => {
    if (player.state !== "action") player.action(Number(button.dataset.action));
  };
}

// A file may be dropped anywhere: next to the zone it would replace the page.
for (const type of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    const onFace = $("face-drop").contains(event.target);
    $("drop").classList.toggle("over", type === "dragover" && !onFace);
    $("face-drop").classList.toggle("over", type === "dragover" && onFace);
    if (type !== "drop") return;
    const [file] = event.dataTransfer.files;
    if (onFace || file?.type.startsWith("image/")) face.make(file);
    else playFile(file);
  });
}

window.addEventListener("pagehide", () => player.close());
window.addEventListener("pageshow", ({ persisted }) => persisted && connect());
/** The network is back, or the person is: what ended meanwhile begins again by itself. */
function revive() {
  if (player.state === "offline" && !document.hidden && !WILL_NOT_HELP.includes(endCode)) connect();
}
window.addEventListener("online", revive);
document.addEventListener("visibilitychange", revive);

showEndpoints(player);
connect();
