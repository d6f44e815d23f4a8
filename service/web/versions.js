// The versions of the open task beside each other, which of them answers, and its files for elsewhere.

import { call, request } from "./api.js";
import { headline } from "./answers.js";
import { announce, byId, duration, h, inWords, percent, save, say } from "./dom.js";
import { saveExamples } from "./examples.js";
import { on, state } from "./state.js";
import { refresh } from "./task.js";
import { tried } from "./trying.js";

const EXPORTS = ["onnx", "safetensors"];

/** @type {Map<number, string>} what each version says of the picture that was tried last */
let said = new Map();

/** Shows the versions of the open task from now on. */
export function showVersions() {
  on("versions", update);
  on("task", forget);
  on("tried", forget);
  byId("compare").addEventListener("click", compare);
  byId("save-task").addEventListener("click", () => attempt(() => saveExamples(state.classes, `${filename()}.zip`)));
}

function forget() {
  showCompare();
  if (said.size === 0) return;
  said = new Map();
  update();
}

function showCompare() {
  byId("compare").hidden = tried.file === null || state.versions.filter((version) => version.state === "ready").length < 2;
}

function update() {
  const ready = state.versions.filter((version) => version.state === "ready");
  byId("versions").hidden = state.versions.length === 0;
  showCompare();
  const columns = ["Version", "Made", "Learned with", "Examples", "Expected", "Took", ...(said.size > 0 ? ["Says of the picture"] : []), ""];
  byId("versions-table").replaceChildren(
    h("thead", {}, h("tr", {}, ...columns.map((name) => (name ? h("th", { scope: "col", text: name }) : h("td", {}))))),
    h("tbody", {}, ...state.versions.map(row)),
  );
  byId("exports").replaceChildren(...EXPORTS.map((format) => exportButton(format, ready.length === 0)));
}

/**
 * @param {string} format
 * @param {boolean} isDisabled
 */
function exportButton(format, isDisabled) {
  const button = h("button", { type: "button", class: "quiet", text: `Export as ${format === "onnx" ? "ONNX" : format}`, disabled: isDisabled, on: { click: () => attempt(() => exportAs(format)) } });
  button.dataset.format = format;
  return button;
}

/** @param {import("./state.js").Version} version */
function row(version) {
  const { number, report, timings_ms } = version;
  const isCurrent = number === state.task?.current_version;
  const expected = report?.expected_accuracy;
  const took = Object.entries(timings_ms ?? {}).filter(([name]) => name !== "total" && name !== "queue").reduce((sum, [, ms]) => sum + ms, 0);
  const cells = [
    new Date(version.created_at).toLocaleString("en", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false }),
    `${version.base_model}, ${version.learner}`,
    report?.n_support ?? "–",
    expected ? `${percent(expected.accuracy)} (${percent(expected.interval_95[0])} to ${percent(expected.interval_95[1])})` : "–",
    version.state === "ready" ? duration(timings_ms?.total ?? took) : version.state,
    ...(said.size > 0 ? [said.get(number) ?? "–"] : []),
  ];
  return h("tr", { class: isCurrent ? "is-current" : "" }, h("th", { scope: "row", text: String(number) }), ...cells.map((text) => h("td", { text: String(text) })), h("td", {}, action(version, isCurrent)));
}

/**
 * @param {import("./state.js").Version} version
 * @param {boolean} isCurrent
 */
function action({ number, state: condition }, isCurrent) {
  if (isCurrent) return h("span", { class: "badge", text: "answers" });
  if (condition !== "ready") return null;
  return h("button", { type: "button", class: "quiet", text: "Let it answer", "aria-label": `Let version ${number} answer`, on: { click: () => attempt(() => activate(number)) } });
}

/** @param {number} number */
async function activate(number) {
  await call("POST", `/v1/tasks/${state.task?.id}/versions/${number}/activate`, { once: true });
  await refresh();
  announce(`Version ${number} answers now`);
}

async function compare() {
  const { file } = tried;
  if (!file) return;
  await attempt(async () => {
    const ready = state.versions.filter((version) => version.state === "ready");
    const answers = ready.map(async ({ number }) => {
      const told = await call("POST", `/v1/tasks/${state.task?.id}/predict`, { body: file, params: { version: number, top_k: 1 } });
      return /** @type {[number, string]} */ ([number, `${headline(told.predictions[0])}, ${percent(told.predictions[0].probability)}`]);
    });
    said = new Map(await Promise.all(answers));
    update();
  });
}

/** @param {string} format */
async function exportAs(format) {
  say(byId("versions-message"), "Making the file …");
  const response = await request("GET", `/v1/tasks/${state.task?.id}/export`, { params: { format } });
  save(await response.blob(), `${filename()}-${state.task?.current_version}.${format}`);
}

function filename() {
  return (state.name || "classifier").replaceAll(/[^\p{L}\p{N}._-]+/gu, "-");
}

/** @param {() => Promise<unknown>} work */
async function attempt(work) {
  const place = byId("versions-message");
  try {
    say(place, "");
    await work();
    say(place, "");
  } catch (error) {
    say(place, inWords(error), "problem");
  }
}
