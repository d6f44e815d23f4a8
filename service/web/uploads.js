// Sends examples to the service at once, in small parts and in order. A part with bad files is sent again without them.

import { call, Problem } from "./api.js";
import { state } from "./state.js";

const PART_FILES = 16;
const PART_BYTES = 24 * 2 ** 20;

/**
 * @typedef {{file: File, label: string, group?: string | null}} Item
 * @typedef {{item: Item, detail: string}} Refused
 * @typedef {{stored: {item: Item, example: any}[], refused: Refused[]}} Outcome
 */

/** @type {Promise<unknown>} */
let line = Promise.resolve();
let nSending = 0;

/** Whether some examples are still on their way. */
export function isSending() {
  return nSending > 0;
}

/** Resolves once all that was sent so far has arrived or was refused. */
export function whenSent() {
  return line.catch(() => {});
}

/**
 * Does something after what was begun before, one at a time.
 * @template Result
 * @param {() => Promise<Result>} work
 * @returns {Promise<Result>}
 */
export function inLine(work) {
  nSending += 1;
  const done = line.catch(() => {}).then(work);
  line = done;
  return done.finally(() => {
    nSending -= 1;
  });
}

/**
 * Stores examples of a task.
 * @param {string} path where images with labels go
 * @param {Item[]} items
 * @param {(outcome: Outcome) => void} tell called for each part
 */
export async function sendExamples(path, items, tell) {
  const { good, refused } = tooLarge(items);
  if (refused.length > 0) tell({ stored: [], refused });
  for (const part of parts(good)) tell(await sendPart(path, part));
}

/**
 * Sends images to an address that names each bad one, until only good ones are left.
 * @template {{file: Blob}} Sent
 * @param {Sent[]} items
 * @param {(items: Sent[]) => Promise<any>} send
 * @returns {Promise<{answer: any, good: Sent[], refused: {item: Sent, detail: string}[]}>}
 */
export async function sendGood(items, send) {
  let good = items;
  /** @type {{item: Sent, detail: string}[]} */
  const refused = [];
  while (good.length > 0) {
    try {
      return { answer: await send(good), good, refused };
    } catch (error) {
      const bad = error instanceof Problem ? named(error, good.length) : new Map();
      if (bad.size === 0) throw error;
      for (const [index, detail] of bad) refused.push({ item: good[index], detail });
      good = good.filter((_, index) => !bad.has(index));
    }
  }
  return { answer: null, good, refused };
}

/**
 * @param {string} path
 * @param {Item[]} items
 * @returns {Promise<Outcome>}
 */
async function sendPart(path, items) {
  try {
    const { answer, good, refused } = await sendGood(items, (some) => call("POST", path, { body: labelledForm(some), once: true }));
    return { stored: good.map((item, index) => ({ item, example: answer.items[index] })), refused };
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    return { stored: [], refused: items.map((item) => ({ item, detail: message })) };
  }
}

/** @param {Item[]} items */
export function labelledForm(items) {
  const form = new FormData();
  for (const { file, label } of items) {
    form.append("files", file, file.name);
    form.append("labels", label);
  }
  if (items.some(({ group }) => group)) for (const { group } of items) form.append("groups", group ?? "");
  return form;
}

/**
 * The bad files that a problem names, by their place, with what is wrong.
 * @param {Problem} problem
 * @param {number} n
 * @returns {Map<number, string>}
 */
function named(problem, n) {
  const bad = new Map();
  for (const { pointer, detail } of problem.errors) {
    const place = /^\/(?:files|labels)\/(\d+)$/.exec(pointer);
    if (place && Number(place[1]) < n) bad.set(Number(place[1]), detail);
  }
  if (bad.size === 0 && n === 1 && [413, 415, 422].includes(problem.status)) bad.set(0, problem.message);
  return bad;
}

/**
 * @param {Item[]} items
 * @returns {{good: Item[], refused: Refused[]}}
 */
function tooLarge(items) {
  const most = state.limits.file_bytes ?? Infinity;
  const refused = items
    .filter(({ file }) => file.size > most)
    .map((item) => ({ item, detail: `is larger than ${Math.floor(most / 2 ** 20)} MB` }));
  return { good: items.filter(({ file }) => file.size <= most), refused };
}

/**
 * @param {Item[]} items
 * @returns {Iterable<Item[]>}
 */
function* parts(items) {
  /** @type {Item[]} */
  let part = [];
  let bytes = 0;
  for (const item of items) {
    if (part.length === PART_FILES || (part.length > 0 && bytes + item.file.size > PART_BYTES)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(item);
    bytes += item.file.size;
  }
  if (part.length > 0) yield part;
}
