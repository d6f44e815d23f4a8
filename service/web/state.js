// What the page knows: the open task and the service. Parts of the page listen for what changed.

/**
 * @typedef {{id: string, label: string, filename: string | null, group: string | null, has_original: boolean, media_type: string, width_px: number, height_px: number}} Example
 * @typedef {{label: string, examples: Example[], n_waiting: number, isLeftOut: boolean}} Class a class on the screen; the service knows it once it has an example
 * @typedef {{number: number, state: string, learner: string, base_model: string, settings: any, report: any, timings_ms: Record<string, number>, error: {detail: string} | null, created_at: string}} Version
 * @typedef {{id: string, name: string | null, state: string, base_model: string | null, learner: string | null, classes: {label: string, n_examples: number, is_left_out: boolean}[], n_examples: number, current_version: number | null, pending_version: number | null, threshold?: number | null, store: string, expires_at: string | null, created_at: string}} Task
 * @typedef {"task" | "examples" | "versions" | "tried"} Change `task`: another one is open; `examples`: they or the classes changed
 */

export const state = {
  /** @type {Task | null} null while the service does not know of it */
  task: null,
  /** what the task is called; the service knows once there is a task */
  name: "",
  /** the base model that the user chose; empty: the service chooses */
  baseModel: "",
  /** @type {Class[]} */
  classes: [],
  /** @type {Version[]} newest first */
  versions: [],
  /** examples changed since the newest version was made */
  isChanged: false,
  /** @type {any[]} cards of the base models */
  baseModels: [],
  /** @type {any} */
  limits: {},
};

const changes = new EventTarget();

/**
 * @param {Change} change
 * @param {() => void} listener
 */
export function on(change, listener) {
  changes.addEventListener(change, listener);
}

/** @param {Change[]} happened */
export function tell(...happened) {
  for (const change of happened) changes.dispatchEvent(new Event(change));
}

/** How many examples the open task has. */
export function nExamples() {
  return state.classes.reduce((sum, each) => sum + each.examples.length, 0);
}

/** The classes that an adaptation takes in. @returns {Class[]} */
export function takenIn() {
  return state.classes.filter((each) => each.examples.length > 0 && !each.isLeftOut);
}

/** How many examples an adaptation takes in. */
export function nTakenIn() {
  return takenIn().reduce((sum, each) => sum + each.examples.length, 0);
}

/** The version that answers, if any does. @returns {Version | null} */
export function currentVersion() {
  return state.versions.find((version) => version.number === state.task?.current_version) ?? null;
}

/** Why the task cannot be adapted yet; empty if it can. */
export function whyNotAdaptable() {
  if (state.task?.store === "nothing" && state.task.current_version) return "This task keeps none of its pictures, so it only answers. Begin a new task to teach it more.";
  const n = takenIn().length;
  if (n >= 2) return "";
  if (state.classes.some((each) => each.isLeftOut)) return "At least two classes must be taken in; take one in again.";
  return n === 1 ? "One more class needs an example." : "Give at least two classes an example each.";
}
