// Requests to the service, and what it says when it refuses one. The API key is kept here, in memory only.

const TRIES = 4;

let key = "";
/** @type {(isWrong: boolean) => Promise<string>} */
let askForKey = async () => "";
/** @type {Promise<string> | null} */
let asking = null;

/** A refusal by the service, in its own words. */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 where nobody answered
   * @param {{type?: string, errors?: {pointer: string, code: string, detail: string, filename: string | null}[]}} [document]
   */
  constructor(message, status, document = {}) {
    super(message);
    this.status = status;
    this.type = (document.type ?? "").split("/").pop() ?? "";
    this.errors = document.errors ?? [];
  }
}

/**
 * Says who asks the user for the key where the service wants one.
 * @param {(isWrong: boolean) => Promise<string>} ask
 */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/** Whether the service wanted a key. */
export function hasKey() {
  return key !== "";
}

/**
 * @typedef {object} Asked
 * @property {any} [json] body as JSON
 * @property {Blob | FormData} [body] body as it is
 * @property {Record<string, string | number | null | undefined>} [params] of the address
 * @property {string} [accept] the kind of answer, where there are several
 * @property {boolean} [once] done once however often it is sent: repeated where the connection breaks
 * @property {AbortSignal} [signal]
 */

/**
 * The answer of the service, whatever its kind.
 * @param {string} method
 * @param {string} path
 * @param {Asked} [asked]
 * @returns {Promise<Response>}
 */
export async function request(method, path, asked = {}) {
  const repeats = method === "GET" || asked.once === true;
  /** @type {Record<string, string>} */
  const idempotency = asked.once ? { "Idempotency-Key": randomKey() } : {};
  for (let attempt = 1; ; attempt += 1) {
    const response = await send(method, path, asked, idempotency).catch((error) => {
      if (error.name === "AbortError") throw error;
      return null;
    });
    if (response?.ok) return response;
    if (response?.status === 401) {
      await obtainKey();
      attempt = 0;
    } else if (!repeats || attempt === TRIES || (response !== null && response.status !== 503)) {
      throw await problemOf(response);
    } else {
      await pause(response ? 1000 * Number(response.headers.get("Retry-After") ?? 1) : 300 * 2 ** attempt);
    }
  }
}

/**
 * The answer of the service as JSON; null where it has no body.
 * @param {string} method
 * @param {string} path
 * @param {Asked} [asked]
 * @returns {Promise<any>}
 */
export async function call(method, path, asked = {}) {
  const response = await request(method, path, asked);
  return response.status === 204 ? null : response.json();
}

/**
 * All items of a list, page by page.
 * @param {string} path
 * @returns {Promise<any[]>}
 */
export async function all(path) {
  const items = [];
  for (let cursor = null; ; ) {
    const page = await call("GET", path, { params: { limit: 200, cursor } });
    items.push(...page.items);
    cursor = page.next_cursor;
    if (!cursor) return items;
  }
}

/**
 * Tells each of the server-sent events that an answer is, until it ends. EventSource would send neither images nor the key.
 * @param {string} method
 * @param {string} path
 * @param {Asked} asked
 * @param {(name: string, data: any) => void} tell
 */
export async function events(method, path, asked, tell) {
  const response = await request(method, path, { ...asked, accept: "text/event-stream" });
  const reader = /** @type {ReadableStream<any>} */ (response.body).pipeThrough(new TextDecoderStream()).getReader();
  let name = "";
  for (let text = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (text + value).split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("event:")) name = line.slice(6).trim();
      if (line.startsWith("data:")) tell(name, JSON.parse(line.slice(5)));
    }
  }
}

/** @param {number} ms */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * @param {string} method
 * @param {string} path
 * @param {Asked} asked
 * @param {Record<string, string>} more headers
 */
function send(method, path, { json, body, params = {}, accept, signal }, more) {
  const headers = new Headers(more);
  if (accept) headers.set("Accept", accept);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  if (json !== undefined) headers.set("Content-Type", "application/json");
  if (body instanceof Blob) headers.set("Content-Type", body.type || "application/octet-stream");
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  const address = query ? `${path}?${query}` : path;
  return fetch(address, { method, headers, body: json === undefined ? body : JSON.stringify(json), signal });
}

/** Asks the user for the key, once for however many requests want it. */
async function obtainKey() {
  asking ??= askForKey(key !== "").finally(() => {
    asking = null;
  });
  key = await asking;
}

/**
 * @param {Response | null} response null where nobody answered
 * @returns {Promise<Problem>}
 */
async function problemOf(response) {
  if (response === null) return new Problem("the service does not answer; is it running?", 0);
  const document = await response.json().catch(() => ({}));
  return new Problem(document.detail ?? `the service answers ${response.status}`, response.status, document);
}

/** A key that nobody else has; also where the page is not served securely, which rules out randomUUID. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16).padStart(8, "0")).join("");
}
