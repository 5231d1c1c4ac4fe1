/** Draws what the face finder has seen: the portrait, its 478 points, and the contours among them. */

// Indices of the MediaPipe Face Mesh, as drawn lines; closed ones return to their first point.
const CONTOURS = [
  [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136,
    172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10],
  [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7, 33],
  [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249, 263],
  [70, 63, 105, 66, 107],
  [300, 293, 334, 296, 336],
  [168, 6, 197, 195, 5, 4],
  [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146, 61],
  [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 78],
];
const IRISES = [[468, 469], [473, 474]]; // centre, and a point of the rim

/**
 * @param {HTMLCanvasElement} canvas takes the portrait's size
 * @param {{portrait: string, width: number, height: number, landmarks: number[][]}} face
 */
export async function drawFace(canvas, { portrait, width, height, landmarks }) {
  const picture = new Image();
  picture.src = portrait;
  await picture.decode();
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, width, height);
  const unit = width / 512;
  context.fillStyle = "rgb(255 255 255 / 55%)";
  for (const [x, y] of landmarks) context.fillRect(x - 0.6 * unit, y - 0.6 * unit, 1.2 * unit, 1.2 * unit);
  for (const [colour, line] of [["rgb(0 0 0 / 35%)", 3.2], ["#7df0d2", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = line * unit;
    context.beginPath();
    for (const contour of CONTOURS) {
      context.moveTo(...landmarks[contour[0]]);
      for (const index of contour.slice(1)) context.lineTo(...landmarks[index]);
    }
    for (const [centre, rim] of IRISES) {
      const [[x, y], [rimX, rimY]] = [landmarks[centre], landmarks[rim]];
      const radius = Math.hypot(rimX - x, rimY - y);
      context.moveTo(x + radius, y);
      context.arc(x, y, radius, 0, 2 * Math.PI);
    }
    context.stroke();
  }
}
