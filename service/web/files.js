// Files that a person chooses or drops: loose ones, folders, zips. Each gets the name of its own folder as its label.

import { readManifest } from "./manifest.js";
import { readZip } from "./zip.js";

/** @typedef {{file: File, label: string | null, group?: string}} Found */
/** @typedef {{filename: string, detail: string}} Rejected */
/** @typedef {{found: Found[], rejected: Rejected[], leftOut: string[]}} Collected labels of classes to leave out */

/**
 * The files of an input element.
 * @param {Iterable<File>} files
 * @returns {Promise<Collected>}
 */
export function fromInput(files) {
  return collect(Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name })));
}

/**
 * The files of a drop, folders included.
 * @param {DataTransfer} dropped
 * @returns {Promise<Collected>}
 */
export async function fromDrop(dropped) {
  const entries = Array.from(dropped.items, (item) => item.webkitGetAsEntry?.()).filter((entry) => entry !== null && entry !== undefined);
  if (entries.length === 0) return fromInput(dropped.files);
  const files = await Promise.all(entries.map((entry) => walk(/** @type {FileSystemEntry} */ (entry))));
  return collect(files.flat());
}

/** @type {Set<HTMLElement>} what a drag is over; a drop on an inner element ends it for the outer ones too */
const dragged = new Set();

/**
 * Lets files be dropped onto an element.
 * @param {HTMLElement} element
 * @param {(collected: Collected) => void} take
 */
export function acceptDrops(element, take) {
  let depth = 0;
  const mark = (/** @type {number} */ by) => {
    depth = (dragged.has(element) ? depth : 0) + by;
    if (depth > 0) dragged.add(element);
    else dragged.delete(element);
    element.classList.toggle("is-over", depth > 0);
  };
  element.addEventListener("dragenter", () => mark(1));
  element.addEventListener("dragleave", () => mark(-1));
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    for (const each of dragged) each.classList.remove("is-over");
    dragged.clear();
    if (event.dataTransfer) take(await fromDrop(event.dataTransfer));
  });
}

/**
 * Calls back with what a person chooses in an input element, which can then choose the same again.
 * @param {HTMLInputElement} input
 * @param {(collected: Collected) => void} take
 */
export function acceptChoice(input, take) {
  input.addEventListener("change", async () => {
    const collected = await fromInput(input.files ?? []);
    input.value = "";
    take(collected);
  });
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<{file: File, path: string}[]>}
 */
async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const children = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    children.push(...some);
  }
  return (await Promise.all(children.map(walk))).flat();
}

/**
 * @param {{file: File, path: string}[]} files
 * @returns {Promise<Collected>}
 */
async function collect(files) {
  /** @type {Collected} */
  const collected = { found: [], rejected: [], leftOut: [] };
  for (const { file, path } of files.toSorted((a, b) => a.path.localeCompare(b.path, "en", { numeric: true }))) {
    if (isHidden(path)) continue;
    if (isZip(file)) await collectZip(file, collected);
    else collected.found.push({ file, label: labelOf(path) });
  }
  return collected;
}

/**
 * @param {File} archive
 * @param {Collected} collected
 */
async function collectZip(archive, collected) {
  try {
    const { manifest, packed } = await readManifest((await readZip(archive)).filter(({ path }) => !isHidden(path)));
    collected.leftOut.push(...manifest.leftOut);
    for (const { path, read } of packed) {
      const name = path.split("/").pop() ?? path;
      try {
        collected.found.push({ file: new File([await read()], name), ...manifest.about(path, labelOf(path)) });
      } catch (error) {
        collected.rejected.push({ filename: path, detail: /** @type {Error} */ (error).message });
      }
    }
  } catch (error) {
    collected.rejected.push({ filename: archive.name, detail: /** @type {Error} */ (error).message });
  }
}

/** @param {string} path */
function labelOf(path) {
  const folders = path.split("/").slice(0, -1).filter((part) => part && part !== ".");
  return folders.length > 0 ? folders[folders.length - 1].normalize("NFC").trim() : null;
}

/** @param {string} path */
function isHidden(path) {
  return path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX" || part === "Thumbs.db");
}

/** @param {File} file */
function isZip(file) {
  return /\.zip$/i.test(file.name) || /^application\/(x-)?zip/.test(file.type);
}
