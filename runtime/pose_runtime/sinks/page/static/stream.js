// The connection to the server: it comes back by itself, and says how it stands.
//
// Events: "state" {tone, text, notice}, "news" (an object), "picture" {header, bitmap}.

const FIRST_WAIT_S = 0.5;
const LONGEST_WAIT_S = 8;
const SILENCE_S = 6; // the status comes every second

export class Stream extends EventTarget {
  #socket = null;
  #watched = null;
  #wait = FIRST_WAIT_S;
  #timer = 0;
  #silence = 0;
  #received = 0;
  #newest = null;
  #busy = false;

  constructor(path) {
    super();
    this.url = new URL(path, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.url.search = "";
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => {
      this.#ask();
      this.#hurry();
    });
    this.#connect();
  }

  /** See the pictures of this source from now on. */
  watch(source) {
    this.#watched = source;
    this.#ask();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#received = 0;
    this.#newest = null;
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#ask();
    socket.onmessage = (event) => this.#hear(socket, event.data);
    socket.onclose = () => this.#lost(socket);
    this.#listen();
  }

  #hear(socket, data) {
    if (socket !== this.#socket) return;
    this.#wait = FIRST_WAIT_S;
    this.#listen();
    if (typeof data === "string") {
      this.#tell("state", { tone: "good", text: "Connected", notice: "" });
      this.#tell("news", JSON.parse(data));
    } else {
      this.#received += 1;
      this.#newest = { socket, data, number: this.#received };
      this.#show();
    }
  }

  // One picture at a time: what came meanwhile is shown next, the newest only.
  async #show() {
    if (this.#busy || this.#newest === null) return;
    this.#busy = true;
    const { socket, data, number } = this.#newest;
    this.#newest = null;
    try {
      const length = new DataView(data).getUint32(0, true);
      const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
      if (socket === this.#socket) this.#tell("picture", { header, bitmap });
      bitmap.close();
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ got: number }));
    } finally {
      this.#busy = false;
      this.#show();
    }
  }

  // A hidden page needs no pictures.
  #ask() {
    const watch = document.hidden ? null : this.#watched;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ watch }));
  }

  // A connection may be dead without a word: the line is cut, the phone slept.
  #listen() {
    clearTimeout(this.#silence);
    const socket = this.#socket;
    this.#silence = setTimeout(() => {
      socket.close();
      this.#lost(socket);
    }, SILENCE_S * 1000);
  }

  async #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#silence);
    const wait = this.#wait * (0.75 + 0.5 * Math.random());
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_S);
    this.#timer = setTimeout(() => this.#connect(), wait * 1000);
    this.#tell("state", { tone: "wait", text: "Reconnecting…", notice: "The connection to jetpose is lost.\nTrying again…" });
    const reason = await this.#reason();
    if (reason !== null && this.#socket?.readyState !== WebSocket.OPEN) this.#tell("state", reason);
  }

  // A browser does not say why a WebSocket was refused; a plain request does.
  async #reason() {
    try {
      const { status } = await fetch("api/status", { signal: AbortSignal.timeout(3000) });
      if (status === 401) {
        return { tone: "bad", text: "No access", notice: "The token has changed.\nOpen the address that jetpose logs at its start." };
      }
      if (status === 503) return { tone: "wait", text: "Busy", notice: "Too many viewers.\nTrying again…" };
      if (status === 403) return { tone: "bad", text: "No access", notice: "jetpose does not know this address.\nOpen it by its IP address." };
    } catch {
      // nobody answers: what the page says already
    }
    return null;
  }

  #hurry() {
    if (this.#timer && !document.hidden) this.#connect();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
