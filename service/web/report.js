// What the service says of the version that answers: how good it will be, what it confuses, which examples look wrong.

import { byId, count, h, inWords, listed, percent, say } from "./dom.js";
import { moveExample, removeExamples } from "./examples.js";
import { currentVersion, on, state } from "./state.js";
import { figure, matrix } from "./figures.js";
import { thumbnail } from "./thumbnails.js";

/** Shows the report of the open task from now on. */
export function showReport() {
  on("versions", update);
  on("examples", update);
}

function update() {
  const version = currentVersion();
  byId("report-empty").hidden = version !== null;
  byId("report-body").hidden = version === null;
  if (!version) return;
  const report = version.report ?? {};
  byId("report-body").replaceChildren(...[expected(report), advice(report), unbalanced(report), warnings(report), suspects(report), confusion(report), about(version)].filter((part) => part !== null));
}

/** @param {any} report */
function expected(report) {
  const told = report.expected_accuracy;
  if (!told) return h("p", { class: "fine", text: "How often it will be right cannot be said from these examples alone. Keep some pictures back and check below." });
  const basis = told.basis === "leave-one-out" ? "From your examples, each answered by a classifier made without it." : "One example of each class is too few to tell; this is what the base model reaches on such tasks.";
  return h("div", {}, figure({ name: "Expected to be right", share: told.accuracy, interval: told.interval_95 }), h("p", { class: "fine", text: basis }));
}

/** Which class needs another example. @param {any} report */
function advice(report) {
  const classes = report.classes ?? state.classes.filter((each) => each.examples.length > 0).map((each) => ({ label: each.label, n_examples: each.examples.length }));
  if (classes.length === 0) return null;
  const single = classes.filter((/** @type {any} */ each) => each.n_examples < 2).map((/** @type {any} */ each) => each.label);
  if (single.length > 0) return note("Next", `${listed(single.slice(0, 5))} ${single.length === 1 ? "has" : "have"} one example only: another one helps most.`);
  const weakest = weakestClass(classes);
  if (typeof weakest.recall === "number" && weakest.recall < 1) return note("Next", `${weakest.label} is found least often (${percent(weakest.recall)}): another example of it helps most.`);
  const isClean = weakest.recall === 1;
  return note("Next", `${isClean ? "Nothing is confused. " : ""}If you add examples, begin with ${weakest.label} (${count(weakest.n_examples, "example")}).`);
}

/** @param {any[]} classes */
function weakestClass(classes) {
  return classes.reduce((worst, each) => {
    const [a, b] = [each.recall ?? 1, worst.recall ?? 1];
    return a < b || (a === b && each.n_examples < worst.n_examples) ? each : worst;
  });
}

/** @param {any} report */
function unbalanced(report) {
  const told = report.unbalanced;
  if (!told?.recall_at_false_alarm?.length) return null;
  const rows = told.recall_at_false_alarm.map((/** @type {any} */ each) => h("li", { text: `${percent(each.recall)} of them found, where ${percent(each.false_alarm_rate)} of the others are false alarms` }));
  return h("div", {}, h("h4", { text: `The rare class: ${told.label}` }), h("ul", { class: "plain" }, ...rows), h("p", { class: "fine", text: `Average precision ${Number(told.average_precision).toFixed(2)}` }));
}

/** @param {any} report */
function warnings(report) {
  const told = report.warnings ?? [];
  if (told.length === 0) return null;
  return h("div", {}, h("h4", { text: "Look at this" }), h("ul", { class: "warnings" }, ...told.map((/** @type {any} */ each) => h("li", { text: inWords(each.detail) }))));
}

/** @param {any} report */
function suspects(report) {
  const present = new Set(state.classes.flatMap((each) => each.examples.map((example) => example.id)));
  const told = (report.suspects ?? []).filter((/** @type {any} */ each) => present.has(each.example_id));
  if (told.length === 0) return null;
  return h("div", {}, h("h4", { text: "Examples that look wrong" }), h("ul", { class: "suspects" }, ...told.slice(0, 12).map(suspect)));
}

/** @param {{example_id: string, label: string, nearest_label: string}} told */
function suspect({ example_id, label, nearest_label }) {
  const [from, to] = [label, nearest_label].map((name) => state.classes.find((each) => each.label === name));
  const message = h("p", { class: "message", hidden: true, role: "alert" });
  const act = (/** @type {() => Promise<unknown>} */ work) => async () => {
    await work().catch((error) => say(message, inWords(error), "problem"));
  };
  const buttons = [];
  if (from && to && from !== to) buttons.push(h("button", { type: "button", class: "quiet", text: `Move to ${to.label}`, on: { click: act(() => moveExample(example_id, from, to)) } }));
  if (from) buttons.push(h("button", { type: "button", class: "quiet", text: "Remove", "aria-label": `Remove this example of ${label}`, on: { click: act(() => removeExamples(from, [example_id])) } }));
  const text = `Given as ${label}, looks like ${nearest_label}.`;
  return h("li", {}, thumbnail(state.task?.id ?? "", example_id, `example of ${label}`), h("div", {}, h("p", { text }), h("div", { class: "row" }, ...buttons), message));
}

/** @param {any} report */
function confusion(report) {
  if (!report.confusion || !report.classes) return null;
  return h("div", {}, h("h4", { text: "What is taken for what" }), matrix({ caption: "Rows are what it is, columns what it was taken for; each example answered by a classifier made without it", labels: report.classes.map((/** @type {any} */ each) => each.label), counts: report.confusion }));
}

/** @param {import("./state.js").Version} version */
function about(version) {
  const chosen = version.report?.base_model;
  const learned = `Version ${version.number}: ${version.base_model}, ${version.learner}, ${count(version.report?.n_support ?? 0, "example")}.`;
  return h("p", { class: "fine", text: chosen?.reason ? `${learned} ${inWords(chosen.reason)}` : learned });
}

/**
 * @param {string} title
 * @param {string} text
 */
function note(title, text) {
  return h("p", { class: "advice" }, h("strong", { text: `${title}: ` }), text);
}
