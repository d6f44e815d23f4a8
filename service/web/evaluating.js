// Checking the task with pictures that were kept back: a folder for each class in, figures out. Nothing of it is stored.

import { call, Problem } from "./api.js";
import { byId, count, h, inWords, percent, say } from "./dom.js";
import { acceptChoice, acceptDrops } from "./files.js";
import { figure, matrix } from "./figures.js";
import { on, state } from "./state.js";
import { answeringVersion } from "./trying.js";
import { labelledForm, sendGood } from "./uploads.js";

/** Lets the open task be checked from now on. */
export function showEvaluating() {
  acceptDrops(byId("evaluate"), evaluate);
  acceptChoice(byId("evaluate-folders"), evaluate);
  acceptChoice(byId("evaluate-zip"), evaluate);
  on("versions", update);
  on("task", () => {
    byId("evaluation").replaceChildren();
    say(byId("evaluate-message"), "");
  });
}

function update() {
  byId("evaluate").hidden = !state.task?.current_version;
}

/** @param {import("./files.js").Collected} collected */
async function evaluate({ found, rejected }) {
  const place = byId("evaluate-message");
  const labelled = found.flatMap(({ file, label }) => (label ? [{ file, label }] : []));
  const loose = found.length - labelled.length;
  if (labelled.length === 0) {
    say(place, "Nothing to check: choose a folder that has a folder for each class, with pictures in it.", "problem");
    return;
  }
  say(place, `Checking ${count(labelled.length, "picture")} …`);
  try {
    const { answer, refused } = await sendGood(labelled, send);
    const left = [...rejected, ...refused.map(({ item, detail }) => ({ filename: item.file.name, detail }))];
    if (loose > 0) left.push({ filename: count(loose, "file"), detail: "in no folder, so without a class" });
    say(place, left.length > 0 ? h("ul", {}, ...left.map(({ filename, detail }) => h("li", {}, h("strong", { text: `Left out: ${filename}` }), ` ${detail}`))) : "", "problem");
    if (answer) show(answer);
  } catch (error) {
    say(place, inWords(error), "problem");
  }
}

/**
 * Labels that the task does not have count as pictures of none of its classes.
 * @param {{file: File, label: string}[]} items
 */
async function send(items) {
  const form = labelledForm(items);
  const known = new Set(state.classes.map((each) => each.label));
  if (items.some(({ label }) => !known.has(label))) {
    if (!items.some(({ label }) => known.has(label))) throw new Problem("none of these folders is called like a class of this task", 422);
    form.append("unknown_labels", "count");
  }
  return call("POST", `/v1/tasks/${state.task?.id}/evaluate`, { body: form, params: { version: answeringVersion() } });
}

/** @param {any} answer */
function show(answer) {
  const share = (/** @type {number | null} */ value) => (value === null || value === undefined ? "–" : percent(value));
  const rows = answer.classes.map((/** @type {any} */ each) => h("tr", {}, h("th", { scope: "row", text: each.label }), ...[String(each.support), share(each.recall), share(each.precision), share(each.f1)].map((text) => h("td", { text }))));
  const table = h("table", { class: "table" }, h("thead", {}, h("tr", {}, ...["Class", "Pictures", "Found", "Right when said", "F1"].map((name) => h("th", { scope: "col", text: name })))), h("tbody", {}, ...rows));
  byId("evaluation").replaceChildren(
    figure({ name: `Right, of ${count(answer.n_images, "picture")} (version ${answer.version})`, share: answer.accuracy, interval: answer.interval_95 }),
    h("div", { class: "scroll" }, table),
    ...(answer.confusion ? [matrix({ caption: "Rows are what it is, columns what it was taken for", labels: answer.classes.map((/** @type {any} */ each) => each.label), counts: answer.confusion })] : []),
    thresholds(answer.thresholds),
    h("p", { class: "fine", text: [answer.calibration && `Calibration error ${percent(answer.calibration.error)}.`, answer.unknown && `${count(answer.unknown.n_images, "picture")} of none of the classes: told apart with AUROC ${share(answer.unknown.auroc)}.`].filter(Boolean).join(" ") }),
  );
}

/** @param {any[]} told */
function thresholds(told) {
  if (!told?.length) return "";
  const rows = told.map((each) => h("tr", {}, h("th", { scope: "row", text: each.threshold.toFixed(2) }), h("td", { text: percent(each.coverage) }), h("td", { text: each.accuracy === null ? "–" : percent(each.accuracy) })));
  return h("details", {}, h("summary", { text: "What a threshold would do" }), h("table", { class: "table" }, h("thead", {}, h("tr", {}, ...["Threshold", "Answered", "Right among them"].map((name) => h("th", { scope: "col", text: name })))), h("tbody", {}, ...rows)));
}
