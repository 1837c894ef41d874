// A line of the last two minutes; what there is of them fills the width.

const SECONDS = 120;
const LEAST_SECONDS = 30; // of the whole width
const WIDTH = 120;
const HEIGHT = 34;
const NAMESPACE = "http://www.w3.org/2000/svg";

export class Spark {
  #values = [];
  #line;
  #area;

  /** In an empty <svg>; its colour is the text's. */
  constructor(svg) {
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    this.#area = svg.appendChild(document.createElementNS(NAMESPACE, "path"));
    this.#area.setAttribute("fill", "currentColor");
    this.#area.setAttribute("opacity", "0.14");
    this.#line = svg.appendChild(document.createElementNS(NAMESPACE, "path"));
    for (const [name, value] of Object.entries({
      fill: "none",
      stroke: "currentColor",
      "stroke-width": "1.8",
      "stroke-linejoin": "round",
      "vector-effect": "non-scaling-stroke",
    })) {
      this.#line.setAttribute(name, value);
    }
  }

  /** All values, one per second, the newest last; null is a gap. */
  set(values) {
    this.#values = values.slice(-SECONDS);
    this.#draw();
  }

  add(value) {
    this.set([...this.#values, value]);
  }

  #draw() {
    const most = Math.max(...this.#values.map((value) => value ?? 0), 1e-9) * 1.12;
    const runs = [[]];
    this.#values.forEach((value, i) => {
      const x = i * (WIDTH / (Math.max(this.#values.length, LEAST_SECONDS) - 1));
      if (value === null) runs.push([]);
      else runs.at(-1).push(`${x.toFixed(2)} ${(HEIGHT - 1 - (value / most) * (HEIGHT - 2)).toFixed(2)}`);
    });
    const lines = runs.filter((run) => run.length > 1);
    this.#line.setAttribute("d", lines.map((run) => `M${run.join("L")}`).join(""));
    const under = (run) => `M${run[0].split(" ")[0]} ${HEIGHT}L${run.join("L")}L${run.at(-1).split(" ")[0]} ${HEIGHT}Z`;
    this.#area.setAttribute("d", lines.map(under).join(""));
  }
}
