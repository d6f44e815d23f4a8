// The open task: begin, open, rename, its classes; what the service is asked for it. Tells the page what changed.

import { all, call } from "./api.js";
import { dropDraft, dropLabels, keepDraft, keepLabels, readDraft, readLabels } from "./drafts.js";
import { nExamples, nTakenIn, state, takenIn, tell } from "./state.js";
import { noteOriginals } from "./thumbnails.js";

/** @typedef {import("./state.js").Class} Class */

/** @type {Promise<string> | null} */
let creating = null;

/** Begins a task, or goes on with the one that was begun before its first example. */
export function begin() {
  const draft = readDraft();
  Object.assign(state, { task: null, name: draft.name, baseModel: draft.baseModel, versions: [], isChanged: false });
  state.classes = draft.labels.map(emptyClass);
  creating = null;
  address("");
  tell("task", "examples", "versions");
}

/** Begins a task from nothing. */
export function beginAnew() {
  dropDraft();
  begin();
}

/**
 * Opens a task that the service has.
 * @param {string} id
 */
export async function open(id) {
  const [task, examples, versions] = await Promise.all([
    call("GET", `/v1/tasks/${id}`),
    all(`/v1/tasks/${id}/examples`),
    all(`/v1/tasks/${id}/versions`),
  ]);
  const labels = new Set([...readLabels(id), ...task.classes.map((/** @type {any} */ each) => each.label)]);
  Object.assign(state, { task, name: task.name ?? "", baseModel: "", versions });
  state.classes = Array.from(labels, emptyClass);
  for (const example of examples) classOf(example.label).examples.push(example);
  noteOriginals(examples);
  for (const { label, is_left_out } of task.classes) classOf(label).isLeftOut = is_left_out;
  state.isChanged = hasChangedSince(versions[0]);
  creating = Promise.resolve(id);
  address(id);
  tell("task", "examples", "versions");
}

/** Asks again for what the service may have changed: the task and its versions. */
export async function refresh() {
  if (!state.task) return;
  const { id } = state.task;
  const [task, versions] = await Promise.all([call("GET", `/v1/tasks/${id}`), all(`/v1/tasks/${id}/versions`)]);
  if (state.task?.id !== id) return;
  Object.assign(state, { task, versions });
  tell("versions");
}

/** Asks again for the examples, of which the service may have forgotten something. */
export async function refreshExamples() {
  if (!state.task) return;
  const { id } = state.task;
  const examples = await all(`/v1/tasks/${id}/examples`);
  if (state.task?.id !== id) return;
  for (const each of state.classes) each.examples = examples.filter((example) => example.label === each.label);
  noteOriginals(examples);
  tell("examples");
}

/**
 * The id of the open task; the service gets to know of it now if it did not before.
 * @returns {Promise<string>}
 */
export function taskId() {
  creating ??= create().catch((error) => {
    creating = null;
    throw error;
  });
  return creating;
}

/** Keeps what is only on the screen, for the next time the page is loaded. */
export function keepScreen() {
  const labels = state.classes.map((each) => each.label);
  if (state.task) keepLabels(state.task.id, labels);
  else keepDraft({ name: state.name, baseModel: state.baseModel, labels });
}

/** @param {string} name */
export async function rename(name) {
  state.name = name.trim();
  keepScreen();
  if (!state.task || state.name === (state.task.name ?? "")) return;
  state.task = await call("PATCH", `/v1/tasks/${state.task.id}`, { json: { name: state.name || null } });
  tell("versions");
}

/**
 * The class with this label; a new one at the end if there is none.
 * @param {string} label
 * @returns {Class}
 */
export function classOf(label) {
  let found = state.classes.find((each) => each.label === label);
  if (!found) {
    found = emptyClass(label);
    state.classes.push(found);
  }
  return found;
}

/** Adds a class that has a name of its own. */
export function addClass() {
  let n = state.classes.length + 1;
  while (state.classes.some((each) => each.label === `Class ${n}`)) n += 1;
  const added = classOf(`Class ${n}`);
  keepScreen();
  tell("examples");
  return added;
}

/** What the examples no longer are after this: those of the newest version. */
export function examplesChanged() {
  state.isChanged = true;
  for (const each of state.classes) each.isLeftOut &&= each.examples.length > 0; // the service forgets an empty class
  keepScreen();
  tell("examples");
}

/**
 * Removes a task for good.
 * @param {string} id
 */
export async function remove(id) {
  await call("DELETE", `/v1/tasks/${id}`);
  dropLabels(id);
  if (state.task?.id === id) beginAnew();
}

/** Whether the task is on the screen only and holds nothing. */
export function isUntouched() {
  return state.task === null && nExamples() === 0 && state.classes.every((each) => each.n_waiting === 0);
}

async function create() {
  const body = { ...(state.name && { name: state.name }), ...(state.baseModel && { base_model: state.baseModel }) };
  const task = await call("POST", "/v1/tasks", { json: body, once: true });
  state.task = task;
  dropDraft();
  keepScreen();
  address(task.id);
  tell("task");
  return task.id;
}

/** @param {string} label @returns {Class} */
function emptyClass(label) {
  return { label, examples: [], n_waiting: 0, isLeftOut: false };
}

/**
 * Whether what would be adapted to is something else than for a version, as far as names, counts and dates tell.
 * @param {import("./state.js").Version | undefined} version
 */
function hasChangedSince(version) {
  if (state.task?.store === "nothing") return false;
  if (!version) return nTakenIn() > 0;
  const told = version.report?.classes;
  const isNewer = takenIn().some((each) => each.examples.some((example) => example.created_at > version.created_at));
  if (isNewer || !told) return isNewer;
  const counts = new Map(told.map((/** @type {any} */ each) => [each.label, each.n_examples]));
  return counts.size !== takenIn().length || takenIn().some((each) => counts.get(each.label) !== each.examples.length);
}

/** @param {string} id */
function address(id) {
  const wanted = id ? `#${id}` : location.pathname;
  if (location.hash.slice(1) !== id) history.pushState(null, "", wanted);
}
