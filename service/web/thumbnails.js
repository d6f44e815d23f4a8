// Small pictures of examples. The original is fetched once it comes into view, made small, and only the small one is kept.

import { request } from "./api.js";
import { h } from "./dom.js";

const SIDE_PX = 160;
const MODERATE_PX = 448;
const LARGE_BYTES = 400_000;
const AT_ONCE = 4;
const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

/** @type {Map<string, Promise<string>>} address of the small picture by id */
const known = new Map();
/** @type {Set<string>} examples whose original is not kept */
const gone = new Set();
/** @type {(() => void)[]} */
const waiting = [];
let nRunning = 0;

const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    fill(/** @type {HTMLImageElement} */ (target));
  }
});

/**
 * A picture of an example of a task.
 * @param {string} task
 * @param {string} id
 * @param {string} alt
 * @returns {HTMLImageElement}
 */
export function thumbnail(task, id, alt) {
  const image = h("img", { alt, class: "thumb", src: BLANK, width: 72, height: 72, decoding: "async" });
  image.dataset.task = task;
  image.dataset.example = id;
  if (gone.has(id) && !known.has(id)) fillIn(image, "");
  else watcher.observe(image);
  return image;
}

/**
 * Notes which examples have no original any more, so that nobody asks for it.
 * @param {{id: string, has_original: boolean}[]} examples
 */
export function noteOriginals(examples) {
  for (const { id, has_original } of examples) if (!has_original) gone.add(id);
}

/**
 * Keeps the small picture of an example whose file is at hand.
 * @param {string} id
 * @param {Blob} file
 */
export function remember(id, file) {
  known.set(id, small(file));
}

/**
 * The address of a small picture of a file; empty where the browser cannot show such a file.
 * @param {Blob} file
 * @returns {Promise<string>}
 */
export async function small(file) {
  const blob = await scaled(file, SIDE_PX, "image/png");
  return blob ? URL.createObjectURL(blob) : "";
}

/**
 * The file, or a JPEG of moderate size in place of a large picture.
 * @param {Blob} file
 * @returns {Promise<Blob>}
 */
export async function shrunk(file) {
  return file.size > LARGE_BYTES ? ((await scaled(file, MODERATE_PX, "image/jpeg")) ?? file) : file;
}

/**
 * A picture whose short side has at most so many pixels; null where the browser cannot show such a file.
 * @param {Blob} file
 * @param {number} side_px
 * @param {string} type
 * @returns {Promise<Blob | null>}
 */
async function scaled(file, side_px, type) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) return null;
  const scale = Math.min(1, side_px / Math.min(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = h("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
}

/** @param {HTMLImageElement} image */
async function fill(image) {
  const { task = "", example = "" } = image.dataset;
  if (!known.has(example)) known.set(example, limited(() => fetched(task, example)));
  fillIn(image, (await known.get(example)) ?? "");
}

/**
 * @param {HTMLImageElement} image
 * @param {string} address empty: there is nothing to see, only its name to be read
 */
function fillIn(image, address) {
  image.classList.toggle("is-unseen", !address);
  image.title = address ? "" : image.alt;
  image.src = address || BLANK;
}

/**
 * @param {string} task
 * @param {string} example
 */
async function fetched(task, example) {
  try {
    return await small(await (await request("GET", `/v1/tasks/${task}/examples/${example}`)).blob());
  } catch {
    return "";
  }
}

/**
 * @param {() => Promise<string>} work
 * @returns {Promise<string>}
 */
async function limited(work) {
  if (nRunning >= AT_ONCE) await new Promise((resolve) => waiting.push(() => resolve(null)));
  nRunning += 1;
  try {
    return await work();
  } finally {
    nRunning -= 1;
    waiting.shift()?.();
  }
}
