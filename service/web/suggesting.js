// Many pictures without a class: which of them to label first. A click on a class makes a picture an example of it.

import { events, Problem } from "./api.js";
import { byId, count, h, inWords, say } from "./dom.js";
import { addFiles } from "./examples.js";
import { acceptChoice, acceptDrops } from "./files.js";
import { on, state } from "./state.js";
import { classOf, taskId } from "./task.js";
import { shrunk, small } from "./thumbnails.js";
import { sendGood, whenSent } from "./uploads.js";

const N_SUGGESTED = 12;
const NOT_MADE = "not made yet";

/** @type {File[]} the pictures that have no class yet, as they were chosen */
let pool = [];
/** @type {{file: File, row: HTMLElement, classes: HTMLElement}[]} */
let shown = [];
/** @type {string | null} the task that the pool is for */
let owner = null;

/** Lets pictures be suggested from now on. */
export function showSuggesting() {
  const take = (/** @type {import("./files.js").Collected} */ { found, rejected }) => begin(found.map(({ file }) => file), rejected);
  acceptDrops(byId("suggest"), take);
  acceptChoice(byId("suggest-files"), take);
  acceptChoice(byId("suggest-folder"), take);
  byId("suggest-choose").addEventListener("click", () => byId("suggest-files").click());
  byId("suggest-again").addEventListener("click", () => ask([]));
  on("task", forget);
  on("examples", showClasses);
}

function forget() {
  if (owner === NOT_MADE || (owner !== null && owner === state.task?.id)) return;
  [pool, shown, owner] = [[], [], null];
  byId("suggestions").replaceChildren();
  byId("suggest-again").hidden = true;
  say(byId("suggest-message"), "");
}

/**
 * @param {File[]} files
 * @param {{filename: string, detail: string}[]} rejected
 */
async function begin(files, rejected) {
  const most = state.limits.support_images ?? 1000;
  byId("suggest").open = true;
  if (files.length === 0 || files.length > most) {
    say(byId("suggest-message"), files.length === 0 ? "There is no picture among these files." : `These are ${count(files.length, "picture")}; choose at most ${most} at a time.`, "problem");
    return;
  }
  pool = files;
  await ask(rejected);
}

/** @param {{filename: string, detail: string}[]} rejected */
async function ask(rejected) {
  const place = byId("suggest-message");
  byId("suggest-again").hidden = true;
  byId("suggestions").replaceChildren();
  try {
    await whenSent();
    owner = state.task?.id ?? NOT_MADE;
    owner = await taskId();
    const items = await readied(place);
    say(place, `Looking at ${count(items.length, "picture")} …`);
    const { answer, refused } = await sendGood(items, send);
    const bad = new Set(refused.map(({ item }) => item.original));
    pool = pool.filter((file) => !bad.has(file));
    const left = [...rejected, ...refused.map(({ item, detail }) => ({ filename: item.original.name, detail }))];
    say(place, left.length > 0 ? h("ul", {}, ...left.slice(0, 8).map(({ filename, detail }) => h("li", {}, h("strong", { text: `Left out: ${filename}` }), ` ${detail}`))) : "", "problem");
    await show(answer?.suggestions ?? []);
  } catch (error) {
    say(place, inWords(error), "problem");
    byId("suggest-again").hidden = pool.length === 0;
  }
}

/**
 * The pool as it is sent: for the choice, a picture of moderate size says as much as a large one.
 * @param {HTMLElement} place
 * @returns {Promise<{file: Blob, original: File}[]>}
 */
async function readied(place) {
  const items = [];
  for (const [index, original] of pool.entries()) {
    if (index % 20 === 19) say(place, `Reading ${count(pool.length, "picture")}: ${index + 1} …`);
    items.push({ file: await shrunk(original), original });
  }
  return items;
}

/**
 * The suggestions, and meanwhile how many pictures the service has looked at.
 * @param {{file: Blob, original: File}[]} items
 */
async function send(items) {
  const form = new FormData();
  for (const { file, original } of items) form.append("files", file, original.name);
  form.append("n", String(N_SUGGESTED));
  /** @type {any} */
  let answer = null;
  await events("POST", `/v1/tasks/${state.task?.id}/suggest`, { body: form }, (name, data) => {
    if (name === "failed") throw new Problem(data.detail, data.status, data);
    if (name === "suggestions") answer = data;
    else say(byId("suggest-message"), progress(data));
  });
  if (answer === null) throw new Problem("the service ended its answer before it was whole; try again", 0);
  return answer;
}

/** @param {{read: number, seen: number, of: number}} at */
function progress({ read, seen, of }) {
  return read < of ? `Reading ${count(of, "picture")}: ${read} …` : `Looking at ${count(of, "picture")}: ${seen} …`;
}

/** @param {{index: number, detail: string}[]} suggestions */
async function show(suggestions) {
  const files = suggestions.map(({ index }) => pool[index]);
  shown = await Promise.all(suggestions.map(({ detail }, index) => item(files[index], detail)));
  byId("suggestions").replaceChildren(...shown.map(({ row }) => row));
  byId("suggest-again").hidden = shown.length === 0;
  byId("suggest-again").textContent = "Suggest others";
  showClasses();
}

/**
 * @param {File} file
 * @param {string} detail
 */
async function item(file, detail) {
  const classes = h("div", { class: "row", role: "group", "aria-label": `What ${file.name} is` });
  const image = h("img", { class: "thumb", alt: file.name, width: 96, height: 96 });
  const row = h("li", {}, image, h("div", {}, h("p", { class: "fine", text: inWords(detail) }), classes));
  const address = await small(file);
  if (address) image.src = address;
  return { file, row, classes };
}

/** A button for each class, as the classes are. */
function showClasses() {
  for (const each of shown) {
    const buttons = state.classes.map(({ label }) => h("button", { type: "button", text: label, on: { click: () => give(each, label) } }));
    const isSame = buttons.length === each.classes.children.length && buttons.every((button, index) => button.textContent === each.classes.children[index].textContent);
    if (!isSame) each.classes.replaceChildren(...buttons);
  }
}

/**
 * Makes a suggested picture an example.
 * @param {{file: File, row: HTMLElement}} given
 * @param {string} label
 */
async function give(given, label) {
  const next = given.row.nextElementSibling ?? given.row.previousElementSibling;
  pool = pool.filter((file) => file !== given.file);
  shown = shown.filter((each) => each !== given);
  given.row.remove();
  (next?.querySelector("button") ?? byId("suggest-again")).focus();
  let isKept = true;
  await addFiles(classOf(label), [given.file], ([{ filename, detail }]) => {
    isKept = false;
    say(byId("suggest-message"), inWords(`${filename}: ${detail}`), "problem");
  });
  if (shown.length > 0 || !isKept) return;
  byId("suggest-again").hidden = pool.length === 0;
  say(byId("suggest-message"), pool.length > 0 ? `All of these have a class. Adapt, then ask for others of the ${count(pool.length, "picture")} left.` : "Every picture has a class.", "good");
}
