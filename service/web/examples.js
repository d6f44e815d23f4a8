// What is done with the examples of a class: add, remove, move to another class, rename the class, save as files.

import { call, request } from "./api.js";
import { announce, count, inWords, save } from "./dom.js";
import { state, tell } from "./state.js";
import { classOf, examplesChanged, keepScreen, taskId } from "./task.js";
import { remember } from "./thumbnails.js";
import { inLine, sendExamples } from "./uploads.js";
import { writeZip } from "./zip.js";

/** @typedef {import("./state.js").Class} Class */
/** @typedef {import("./files.js").Collected} Collected */
/** @typedef {(refused: {filename: string, detail: string}[]) => void} Complain told of the files that cannot be used */

/**
 * Adds files to a class; they are sent at once.
 * @param {Class} to
 * @param {File[]} files
 * @param {Complain} complain
 */
export async function addFiles(to, files, complain) {
  to.n_waiting += files.length;
  tell("examples");
  let nSettled = 0;
  const settle = (/** @type {number} */ n) => {
    nSettled += n;
    to.n_waiting -= n;
  };
  try {
    await inLine(async () => {
      const path = `/v1/tasks/${await taskId()}/examples`;
      const items = files.map((file) => ({ file, label: to.label }));
      await sendExamples(path, items, ({ stored, refused }) => {
        settle(stored.length + refused.length);
        for (const { item, example } of stored) keep(to, example, item.file);
        if (refused.length > 0) complain(refused.map(({ item, detail }) => ({ filename: item.file.name, detail })));
        examplesChanged();
      });
    });
    announce(`${to.label}: ${count(to.examples.length, "example")}`);
  } catch (error) {
    complain([{ filename: files.length === 1 ? files[0].name : count(files.length, "file"), detail: inWords(error) }]);
  } finally {
    settle(files.length - nSettled);
    tell("examples");
  }
}

/**
 * Adds files that say their class themselves: by the folder that they lie in.
 * @param {Collected} collected
 * @param {(to: Class | null) => Complain} complainAt
 */
export async function addFolders({ found, rejected }, complainAt) {
  const loose = found.filter(({ label }) => label === null).map(({ file }) => ({ filename: file.name, detail: "is in no folder, so it has no class; drop it onto a class" }));
  if (rejected.length + loose.length > 0) complainAt(null)([...rejected, ...loose]);
  /** @type {Map<string, File[]>} */
  const byLabel = new Map();
  for (const { file, label } of found) if (label) byLabel.set(label, [...(byLabel.get(label) ?? []), file]);
  if (byLabel.size === 0) return;
  state.classes = state.classes.filter((each) => each.examples.length + each.n_waiting > 0 || !/^Class \d+$/.test(each.label));
  const adding = Array.from(byLabel, ([label, files]) => ({ to: classOf(label), files }));
  keepScreen();
  tell("examples");
  await Promise.all(adding.map(({ to, files }) => addFiles(to, files, complainAt(to))));
}

/**
 * Removes examples of a class.
 * @param {Class} from
 * @param {string[]} ids
 */
export async function removeExamples(from, ids) {
  const task = await taskId();
  await inLine(async () => {
    for (const id of ids) {
      await call("DELETE", `/v1/tasks/${task}/examples/${id}`);
      from.examples = from.examples.filter((example) => example.id !== id);
    }
  }).finally(examplesChanged);
}

/**
 * Removes a class with its examples.
 * @param {Class} gone
 */
export async function removeClass(gone) {
  if (gone.examples.length > 0) {
    const path = `/v1/tasks/${await taskId()}/classes/${encodeURIComponent(gone.label)}`;
    await inLine(() => call("DELETE", path));
  } else {
    await removeExamples(gone, gone.examples.map((example) => example.id));
  }
  state.classes = state.classes.filter((each) => each !== gone);
  examplesChanged();
}

/**
 * Gives a class another name; its examples are stored again under it, then the old ones are removed.
 * @param {Class} named
 * @param {string} label
 */
export async function renameClass(named, label) {
  if (state.classes.some((each) => each !== named && each.label === label)) throw new Error(`there is a class ${label} already`);
  if (named.examples.length + named.n_waiting > 0) {
    await inLine(async () => {
      await relabel(named.examples, named, label);
      named.label = label;
    });
    examplesChanged();
  } else {
    named.label = label;
    keepScreen();
    tell("examples");
  }
}

/**
 * Moves an example to another class.
 * @param {string} id
 * @param {Class} from
 * @param {Class} to
 */
export async function moveExample(id, from, to) {
  await inLine(() => relabel(from.examples.filter((example) => example.id === id), to, to.label, from)).finally(examplesChanged);
}

/**
 * Saves examples as a zip with a folder for each class: the project as a file, which can be dropped here again.
 * @param {Class[]} classes
 * @param {string} filename
 */
export async function saveExamples(classes, filename) {
  const task = await taskId();
  const files = [];
  for (const { label, examples } of classes) {
    for (const [index, example] of examples.entries()) {
      const blob = await (await request("GET", `/v1/tasks/${task}/examples/${example.id}`)).blob();
      const extension = (example.media_type.split("/")[1] ?? "bin").replace("jpeg", "jpg");
      files.push({ path: `${label.replaceAll("/", "_")}/${String(index + 1).padStart(3, "0")}.${extension}`, blob });
    }
  }
  save(await writeZip(files), filename);
}

/**
 * Stores examples once more under a label, then removes them as they were.
 * @param {import("./state.js").Example[]} examples
 * @param {Class} to
 * @param {string} label
 * @param {Class} [from] where they are now
 */
async function relabel(examples, to, label, from = to) {
  if (examples.length === 0) return;
  const task = await taskId();
  const originals = new Map();
  for (const example of examples) {
    const blob = await (await request("GET", `/v1/tasks/${task}/examples/${example.id}`)).blob();
    const file = new File([blob], example.filename ?? example.id, { type: blob.type });
    originals.set(file, example.id);
  }
  const items = Array.from(originals.keys(), (file) => ({ file, label }));
  /** @type {string[]} */
  const problems = [];
  const done = new Set();
  await sendExamples(`/v1/tasks/${task}/examples`, items, ({ stored, refused }) => {
    problems.push(...refused.map(({ detail }) => detail));
    for (const { item, example } of stored) {
      keep(to, example, item.file);
      done.add(originals.get(item.file));
    }
  });
  for (const id of done) {
    await call("DELETE", `/v1/tasks/${task}/examples/${id}`);
    from.examples = from.examples.filter((example) => example.id !== id);
  }
  if (problems.length > 0) throw new Error(problems[0]);
}

/**
 * @param {Class} to
 * @param {import("./state.js").Example} example
 * @param {Blob} file
 */
function keep(to, example, file) {
  to.examples.push(example);
  remember(example.id, file);
}
