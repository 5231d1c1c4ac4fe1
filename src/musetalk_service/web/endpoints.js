/** The part of the page for developers: addresses and examples, with this server's own name in them. */

const ENDPOINTS = [
  ["WS", "/musetalk/v1/ws/{user_id}", "The live stream"],
  ["GET", "/health", "Whether it takes sessions, and what is loaded"],
  ["GET", "/sessions", "Live sessions"],
  ["GET", "/metrics", "Metrics for Prometheus"],
  ["POST", "/prepare_avatar/{user_id}", "Make an avatar of a photo"],
  ["GET", "/processing_status/{user_id}", "How far it has come"],
  ["GET", "/avatars", "Prepared avatars"],
  ["GET", "/docs", "Try the API in the browser"],
  ["GET", "/openapi.yaml", "The API's description"],
];

const javascript = (base) => `<canvas id="face"></canvas>
<button id="say">Say it</button>
<script type="module">
import { MuseTalkPlayer } from
  "${base}/static/musetalk-player.js";

const player = new MuseTalkPlayer(document.querySelector("#face"));
player.addEventListener("error", ({ detail }) => {
  console.warn(detail.message, detail.hint);
});
await player.connect(); // the idle face appears

document.querySelector("#say").onclick = async () => {
  const file = await (await fetch("/hello.wav")).arrayBuffer();
  const sound = await player.audioContext.decodeAudioData(file);
  await player.playAudio(sound); // lips and sound together
};
</script>`;

const python = (socket) => `import base64, json, uuid, wave
from websockets.sync.client import connect

pcm = wave.open("hello.wav").readframes(-1)  # 16 kHz, 16 bit, mono
session = str(uuid.uuid4())
with connect("${socket}/musetalk/v1/ws/demo_user") as ws:
    def send(kind, **data):
        ws.send(json.dumps(
            {"type": kind, "session_id": session, "data": data}))
    send("INIT", user_id="demo_user")
    for at in range(0, len(pcm), 1280):  # 40 ms each
        send("GENERATE", audio_chunk={
            "format": "pcm_s16le", "sample_rate": 16000,
            "channels": 1, "duration_ms": 40,
            "data": base64.b64encode(pcm[at:at + 1280]).decode()},
            video_state={"type": "speaking",
                         "base_video": "speaking_0"})
    with open("face.h264", "wb") as video:  # ffplay face.h264
        for _ in range(250):  # ten seconds
            data = json.loads(ws.recv())["data"]
            video.write(base64.b64decode(data.get("frame_data", "")))`;

/** Fills in the endpoints and the examples. @param {{url: string}} player */
export function showEndpoints(player) {
  const socket = new URL(player.url).origin;
  const base = location.origin;
  document.getElementById("snippet-js").textContent = javascript(base);
  document.getElementById("snippet-py").textContent = python(socket);
  const list = document.getElementById("endpoint-list");
  for (const [method, path, purpose] of ENDPOINTS) {
    list.append(endpoint(method, (method === "WS" ? socket : base) + path, purpose));
  }
  for (const button of document.querySelectorAll(".copy")) makeCopy(button);
  openFromHash();
  window.addEventListener("hashchange", openFromHash);
}

/** A link to #endpoints shows them, not just their heading. */
function openFromHash() {
  if (location.hash === "#endpoints") document.getElementById("endpoints").open = true;
}

function endpoint(method, address, purpose) {
  const row = document.createElement("li");
  const copy = Object.assign(document.createElement("button"), { type: "button", className: "copy" });
  copy.dataset.text = address;
  copy.setAttribute("aria-label", `Copy ${address}`);
  row.append(
    Object.assign(document.createElement("b"), { textContent: method }),
    Object.assign(document.createElement("code"), { textContent: address }),
    Object.assign(document.createElement("span"), { textContent: purpose }),
    copy,
  );
  return row;
}

function makeCopy(button) {
  const draw = (icon, text) => {
    button.innerHTML = `<svg aria-hidden="true"><use href="#i-${icon}"/></svg>${text}`;
  };
  draw("copy", "Copy");
  button.onclick = async () => {
    const text = button.dataset.text ?? document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      draw("check", "Copied");
      document.getElementById("announce").textContent = "Copied.";
    } catch {
      draw("copy", "Press Ctrl+C");
      selectText(button.closest("li, figure").querySelector("code"));
    }
    setTimeout(() => draw("copy", "Copy"), 2000);
  };
}

function selectText(element) {
  const selection = getSelection();
  selection.removeAllRanges();
  selection.selectAllChildren(element);
}
