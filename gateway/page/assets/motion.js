// What moves: small things on a canvas over the stage, from one place to another.

const canvas = document.getElementById("motion"), stage = document.getElementById("stage");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const MOVING_MAX = 150;
const pen = canvas.getContext("2d");
let moving = [], running = false;

function middle(element, side) {
  const box = element.getBoundingClientRect(), all = stage.getBoundingClientRect();
  const x = side === "start" ? box.left + 6 : side === "end" ? box.right - 6 : box.left + box.width / 2;
  return { x: x - all.left, y: box.top - all.top + box.height / 2 };
}

// move sends a thing from one element through a pipe to another, and calls arrived there.
export function move({ from, pipe, to, colour, label, slip }, arrived = () => {}) {
  if (still.matches || moving.length >= MOVING_MAX || document.hidden) return arrived();
  const points = [middle(from)];
  if (pipe) {
    const tube = pipe.querySelector(".tube") || pipe, back = pipe.classList.contains("left-way");
    const upright = getComputedStyle(stage).gridTemplateColumns.split(" ").length < 2;
    if (upright) points.push(middle(tube));
    else points.push(middle(tube, back ? "end" : "start"), middle(tube, back ? "start" : "end"));
  }
  points.push(middle(to));
  const lengths = points.slice(1).map((p, i) => Math.hypot(p.x - points[i].x, p.y - points[i].y));
  const whole = lengths.reduce((a, b) => a + b, 0) || 1;
  moving.push({ points, lengths, whole, begin: performance.now(), takes: 500 + whole * 1.1, colour, label, slip, arrived });
  if (!running) { running = true; requestAnimationFrame(draw); }
}

function draw(now) {
  const scale = devicePixelRatio || 1, { width, height } = stage.getBoundingClientRect();
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
  }
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "600 11px system-ui, sans-serif";
  pen.textAlign = "center";
  const ink = getComputedStyle(document.body).color;
  const left = [];
  for (const thing of moving) {
    const part = Math.min(1, (now - thing.begin) / thing.takes);
    let way = (part < .5 ? 2 * part * part : 1 - 2 * (1 - part) ** 2) * thing.whole, leg = 0;
    while (leg < thing.lengths.length - 1 && way > thing.lengths[leg]) way -= thing.lengths[leg++];
    const a = thing.points[leg], b = thing.points[leg + 1], share = thing.lengths[leg] ? Math.min(1, way / thing.lengths[leg]) : 1;
    const x = a.x + (b.x - a.x) * share, y = a.y + (b.y - a.y) * share;
    pen.globalAlpha = part > .92 ? (1 - part) / .08 : 1;
    pen.fillStyle = thing.colour;
    pen.shadowColor = thing.colour; pen.shadowBlur = 10;
    pen.beginPath();
    if (thing.slip) pen.roundRect(x - 9, y - 6, 18, 12, 2); else pen.roundRect(x - 6, y - 10, 12, 20, 2);
    pen.fill();
    pen.shadowBlur = 0;
    pen.strokeStyle = pen.fillStyle = "#0007";
    pen.stroke();
    if (thing.slip) pen.fillRect(x - 6, y - 2, 12, 1.5); else pen.fillRect(x - 3.5, y - 10, 1.5, 20);
    if (thing.label && moving.length < 25) { pen.fillStyle = ink; pen.fillText(thing.label, x, y - 14); }
    pen.globalAlpha = 1;
    if (part < 1) left.push(thing); else thing.arrived();
  }
  moving = moving.filter((thing) => left.includes(thing) || thing.begin > now);
  if (moving.length) requestAnimationFrame(draw); else { running = false; pen.clearRect(0, 0, width, height); }
}
