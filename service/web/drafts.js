// What the service does not keep: a task before its first example, and names of classes without one. Kept in this browser.

const DRAFT = "handful:draft";

/** @typedef {{name: string, baseModel: string, labels: string[]}} Draft */

/**
 * What was begun before; fresh where nothing was.
 * @returns {Draft}
 */
export function readDraft() {
  return { name: "", baseModel: "", labels: ["Class 1", "Class 2"], ...read(DRAFT, {}) };
}

/** @param {Draft} draft */
export function keepDraft(draft) {
  keep(DRAFT, draft);
}

export function dropDraft() {
  forget(DRAFT);
}

/**
 * The names of a task's classes, in the order of the screen, those without an example too.
 * @param {string} task
 * @returns {string[]}
 */
export function readLabels(task) {
  return read(`handful:labels:${task}`, []);
}

/**
 * @param {string} task
 * @param {string[]} labels
 */
export function keepLabels(task, labels) {
  keep(`handful:labels:${task}`, labels);
}

/** @param {string} task */
export function dropLabels(task) {
  forget(`handful:labels:${task}`);
}

/**
 * @template Value
 * @param {string} name
 * @param {Value} otherwise
 * @returns {Value}
 */
function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name) ?? "null") ?? otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function keep(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing: names of empty classes are lost with the page, examples are not
  }
}

/** @param {string} name */
function forget(name) {
  try {
    localStorage.removeItem(name);
  } catch {
    // nothing was kept
  }
}
