// Small things about the document: making elements, saying things to screen readers, numbers for people.

/**
 * A new element.
 * @param {string} tag
 * @param {Record<string, any>} [about] attributes; `class`, `text`, `on` (listeners by event) and properties that are no text work too
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any}
 */
export function h(tag, about = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "text") element.textContent = value;
    else if (name in element && typeof value !== "string") /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child || child === "")));
  return element;
}

/**
 * The element with this id, which the page has.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found;
}

/**
 * Tells screen readers something that others see happen.
 * @param {string} sentence
 */
export function announce(sentence) {
  byId("announcer").textContent = sentence;
}

/**
 * Shows a message at the thing it concerns; an empty one takes it away.
 * @param {HTMLElement} place
 * @param {string | Node} message
 * @param {"problem" | "good" | "plain"} [kind]
 */
export function say(place, message, kind = "plain") {
  place.replaceChildren(message);
  place.hidden = message === "";
  place.dataset.kind = kind;
}

/**
 * What went wrong, in words for a person.
 * @param {unknown} error
 */
export function inWords(error) {
  const message = error instanceof Error ? error.message : String(error);
  return message ? message[0].toUpperCase() + message.slice(1) + (/[.!?]$/.test(message) ? "" : ".") : "Something went wrong.";
}

/**
 * "1 example", "3 examples".
 * @param {number} n
 * @param {string} noun
 */
export function count(n, noun) {
  const plural = noun.endsWith("ss") ? `${noun}es` : `${noun}s`;
  return `${n.toLocaleString("en")} ${n === 1 ? noun : plural}`;
}

/**
 * A share as people write it: never 100 % where it is not all.
 * @param {number} share
 */
export function percent(share) {
  const shown = 100 * share;
  if (shown > 99.9 && shown < 100) return "> 99.9 %";
  if (shown > 0 && shown < 0.1) return "< 0.1 %";
  return `${shown >= 99.95 || shown === 0 ? shown.toFixed(0) : shown.toFixed(shown < 10 || shown > 90 ? 1 : 0)} %`;
}

/**
 * A time as people say it.
 * @param {number} ms
 */
export function duration(ms) {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

/**
 * Names in a sentence: "a, b and c".
 * @param {string[]} names
 */
export function listed(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

/**
 * Lets the browser save something as a file.
 * @param {Blob} blob
 * @param {string} filename
 */
export function save(blob, filename) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: filename }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
