// What is done with classes and their examples: add, remove, move to another class, rename, leave out, save as files.

import { call, request } from "./api.js";
import { announce, count, inWords, save } from "./dom.js";
import { state, tell } from "./state.js";
import { classOf, examplesChanged, keepScreen, taskId } from "./task.js";
import { remember } from "./thumbnails.js";
import { inLine, sendExamples } from "./uploads.js";
import { MANIFEST, foldersOf, manifestOf } from "./manifest.js";
import { writeZip } from "./zip.js";

/** @typedef {import("./state.js").Class} Class */
/** @typedef {import("./files.js").Collected} Collected */
/** @typedef {(refused: {filename: string, detail: string}[]) => void} Complain told of the files that cannot be used */

/**
 * Adds files to a class; they are sent at once.
 * @param {Class} to
 * @param {File[]} files
 * @param {Complain} complain
 * @param {Map<File, string>} [groups] what some of them belong to
 */
export async function addFiles(to, files, complain, groups = new Map()) {
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
      const items = files.map((file) => ({ file, label: to.label, group: groups.get(file) ?? null }));
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
export async function addFolders({ found, rejected, leftOut }, complainAt) {
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
  const groups = new Map(found.flatMap(({ file, group }) => (group ? [[file, group]] : [])));
  const added = adding.filter(({ to }) => leftOut.includes(to.label) && to.examples.length === 0);
  await Promise.all(adding.map(({ to, files }) => addFiles(to, files, complainAt(to), groups)));
  for (const { to } of added) if (to.examples.length > 0) await leaveOut(to, true);
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
 * Gives a class another name.
 * @param {Class} named
 * @param {string} label
 */
export async function renameClass(named, label) {
  if (state.classes.some((each) => each !== named && each.label === label)) throw new Error(`there is a class ${label} already`);
  await inLine(async () => {
    if (named.examples.length > 0) await changeClass(named, { label });
    named.label = label;
    for (const example of named.examples) example.label = label;
  });
  if (named.examples.length > 0) examplesChanged();
  else {
    keepScreen();
    tell("examples");
  }
}

/**
 * Leaves a class out of adaptations, or takes it in again; its examples stay.
 * @param {Class} changed
 * @param {boolean} isLeftOut
 */
export async function leaveOut(changed, isLeftOut) {
  await inLine(() => changeClass(changed, { is_left_out: isLeftOut }));
  changed.isLeftOut = isLeftOut;
  examplesChanged();
}

/**
 * Moves an example to another class.
 * @param {string} id
 * @param {Class} from
 * @param {Class} to
 */
export async function moveExample(id, from, to) {
  const path = `/v1/tasks/${await taskId()}/examples/${id}`;
  const moved = await inLine(() => call("PATCH", path, { json: { label: to.label } }));
  from.examples = from.examples.filter((example) => example.id !== id);
  to.examples.push(moved);
  examplesChanged();
}

/**
 * Saves examples as a zip with a folder for each class: the project as a file, which can be dropped here again. What
 * folders cannot say, a manifest does.
 * @param {Class[]} classes
 * @param {string} filename
 */
export async function saveExamples(classes, filename) {
  const task = await taskId();
  const files = [];
  /** @type {Record<string, string>} */
  const groups = {};
  const folders = foldersOf(classes.map((each) => each.label));
  for (const { label, examples } of classes) {
    for (const [index, example] of examples.entries()) {
      const blob = await (await request("GET", `/v1/tasks/${task}/examples/${example.id}`)).blob();
      const extension = (example.media_type.split("/")[1] ?? "bin").replace("jpeg", "jpg");
      const path = `${folders.get(label)}/${String(index + 1).padStart(3, "0")}.${extension}`;
      if (example.group) groups[path] = example.group;
      files.push({ path, blob });
    }
  }
  const manifest = manifestOf(classes, folders, groups);
  if (manifest) files.push({ path: MANIFEST, blob: manifest });
  save(await writeZip(files), filename);
}

/**
 * @param {Class} changed
 * @param {{label?: string, is_left_out?: boolean}} changes
 */
async function changeClass(changed, changes) {
  state.task = await call("PATCH", `/v1/tasks/${await taskId()}/classes/${encodeURIComponent(changed.label)}`, { json: changes });
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
