// A picture and its people, at the canvas's own resolution.

const COLOURS = { left: "#ffa03c", right: "#2896ff", middle: "#78dc78" };
const OUTLINE = "#191919";
const RING = "#ffffff";
const MOST_PIXELS = 2560; // of the longer side: beyond that nobody sees a difference

/** Draw `bitmap` and the people of `header` over it. */
export function paint(canvas, bitmap, header) {
  fit(canvas);
  const context = canvas.getContext("2d", { alpha: false });
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const [width, height] = header.size_wh;
  const sx = canvas.width / width;
  const sy = canvas.height / height;
  for (const person of header.people) {
    // The first pixel's centre is half a pixel in.
    const points = person.keypoints.map((point) => point && [(point[0] + 0.5) * sx, (point[1] + 0.5) * sy]);
    drawPerson(context, points, header.skeleton);
    if (person.id !== undefined) drawId(context, points, person.id);
  }
}

function fit(canvas) {
  const ratio = Math.min(devicePixelRatio, MOST_PIXELS / Math.max(canvas.clientWidth, canvas.clientHeight, 1));
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

/** On which side of the person these keypoints lie. */
function sideOf(...names) {
  const left = names.some((name) => name.startsWith("left_"));
  const right = names.some((name) => name.startsWith("right_"));
  return left === right ? "middle" : left ? "left" : "right";
}

// Outlines first, so that a person stands out from the ground and its limbs join without seams.
function drawPerson(context, points, skeleton) {
  const seen = points.flatMap((point, i) => (point ? [i] : []));
  if (seen.length === 0) return;
  const weight = weightOf(context.canvas, seen.map((i) => points[i]));
  const limbs = skeleton.limbs.filter(([a, b]) => points[a] && points[b]);
  const radii = new Map(seen.map((i) => [i, radiusOf(points, seen, i, weight)]));
  const rim = Math.max(0.6, 0.4 * weight);
  context.lineCap = "round";
  const lines = (width, colour) => {
    context.lineWidth = width;
    for (const [a, b] of limbs) {
      context.strokeStyle = colour ?? COLOURS[sideOf(skeleton.names[a], skeleton.names[b])];
      context.beginPath();
      context.moveTo(...points[a]);
      context.lineTo(...points[b]);
      context.stroke();
    }
  };
  lines(weight + 2 * rim, OUTLINE);
  for (const i of seen) dot(context, points[i], radii.get(i) + rim, OUTLINE);
  lines(weight);
  for (const i of seen) {
    const radius = radii.get(i);
    if (radius >= 2.5) dot(context, points[i], radius, RING);
    dot(context, points[i], radius >= 2.5 ? radius - rim : radius, COLOURS[sideOf(skeleton.names[i])]);
  }
}

// Lines grow with the picture, and are finer on people who are small in it, so that these keep their shape.
function weightOf(canvas, points) {
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const extent = Math.hypot(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
  const ofPicture = Math.sqrt(canvas.width * canvas.height) / 200;
  return Math.max(Math.min(ofPicture, Math.max(extent / 70, 0.3 * ofPicture)), 1);
}

// As large as neighbours allow.
function radiusOf(points, seen, i, weight) {
  const nearest = Math.min(
    ...seen.filter((j) => j !== i).map((j) => Math.hypot(points[i][0] - points[j][0], points[i][1] - points[j][1])),
    Infinity,
  );
  return Math.min(Math.max(0.5 * nearest, 0.7 * weight), 1.5 * weight);
}

function dot(context, [x, y], radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

// Above the highest keypoint.
function drawId(context, points, id) {
  const seen = points.filter(Boolean);
  if (seen.length === 0) return;
  const top = seen.reduce((a, b) => (b[1] < a[1] ? b : a));
  const size = Math.max(12 * Math.min(devicePixelRatio, 2), context.canvas.height / 45);
  const text = String(id);
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const width = context.measureText(text).width + size;
  const x = Math.min(Math.max(top[0], width / 2), context.canvas.width - width / 2);
  const y = Math.max(top[1] - 2.2 * size, 0.8 * size);
  context.fillStyle = "rgb(0 0 0 / 0.7)";
  context.beginPath();
  context.roundRect(x - width / 2, y - 0.75 * size, width, 1.5 * size, 0.75 * size);
  context.fill();
  context.fillStyle = "#fff";
  context.fillText(text, x, y);
}
