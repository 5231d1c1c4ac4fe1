/** The demo page: connects the player to the controls. */
import { MuseTalkPlayer } from "./musetalk-player.js";
import { Microphone } from "./microphone.js";
import { showEndpoints } from "./endpoints.js";
import { SoundMeter } from "./sound-meter.js";

const $ = (id) => document.getElementById(id);
const SAMPLE = new URL("./sample.wav", import.meta.url);
const STATE_NAMES = { connecting: "Connecting", offline: "Offline", idle: "Idle", speaking: "Speaking", action: "Acting" };

const player = new MuseTalkPlayer($("face"));
window.musetalk = player;
const meter = new SoundMeter($("meter"));
let microphone = null;

/* What the person sees of the session */

let shown = null;
player.addEventListener("state", ({ detail: { state } }) => {
  if (state === shown) return;
  shown = state;
  $("frame").dataset.state = state;
  $("chip-text").textContent = STATE_NAMES[state] ?? state;
  const live = player.connected;
  $("controls").disabled = !live;
  for (const button of document.querySelectorAll("[data-action]")) {
    button.setAttribute("aria-disabled", String(state === "action"));
  }
  if (state === "idle" || state === "speaking") {
    for (const button of document.querySelectorAll("[data-target]")) {
      button.setAttribute("aria-pressed", String(button.dataset.target === state));
    }
  }
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
    // A decoder that starts again is back within a second: no news, unless it keeps happening.
    if (detail.code !== "decoder" || player.stats.decoderRestarts > 3) tell(detail);
    return;
  }
  stopMicrophone();
  quiet();
  const held = $("controls").contains(document.activeElement);
  $("veil-text").textContent = detail.message;
  $("veil-hint").textContent = detail.hint ?? "";
  $("veil").hidden = false;
  $("reconnect").hidden = ["insecure", "unsupported"].includes(detail.code);
  if (held) $("reconnect").focus(); // its own place is disabled now
});

player.addEventListener("audio", ({ detail: { phase } }) => {
  if (phase === "started") meter.watch(player.audioOutput);
  else if (phase !== "sent") meter.rest();
});

function tell({ message, hint = "" }) {
  $("notice-text").textContent = message;
  $("notice-hint").textContent = hint;
  $("notice").hidden = false;
}

function quiet() {
  $("notice").hidden = true;
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
  stopMicrophone();
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
  try {
    const heard = await player.playAudio(sound);
    $("announce").textContent = heard ? "Finished." : "Stopped.";
  } catch {
    // the error event has shown it
  }
  $("interrupt").classList.toggle("live", player.playing);
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
    if (player.playing) player.interrupt(); // one voice at a time
    showMicrophone();
  } catch (error) {
    tell(error);
  }
}

function stopMicrophone() {
  if (!microphone?.running) return;
  microphone.stop();
  player.endSpeech();
  meter.rest();
  showMicrophone();
}

function showMicrophone() {
  $("mic").setAttribute("aria-pressed", String(microphone.running));
  $("announce").textContent = microphone.running ? "The microphone is on." : "The microphone is off.";
}

/* The controls */

$("sample").onclick = playSample;
$("mic").onclick = toggleMicrophone;
$("interrupt").onclick = () => {
  stopMicrophone();
  player.interrupt();
};
$("reconnect").onclick = connect;
$("notice-close").onclick = quiet;
$("file").onchange = async ({ target }) => {
  await playFile(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
};
for (const button of document.querySelectorAll("[data-target]")) {
  button.onclick = () => player.setState(button.dataset.target);
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
    $("drop").classList.toggle("over", type === "dragover");
    if (type === "drop") playFile(event.dataTransfer.files[0]);
  });
}

window.addEventListener("pagehide", () => player.close());
window.addEventListener("pageshow", ({ persisted }) => persisted && connect());
window.addEventListener("online", () => player.state === "offline" && connect());

showEndpoints(player);
connect();
