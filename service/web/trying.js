// Trying the task: files, a drawing or the camera in; the answer out. While somebody draws or films, the newest picture is asked for.

import { call } from "./api.js";
import { AnswerView, headline } from "./answers.js";
import { Camera } from "./camera.js";
import { made, releaseCamera, sharesCamera } from "./capture.js";
import { announce, byId, count, h, inWords, percent, say } from "./dom.js";
import { acceptChoice, acceptDrops } from "./files.js";
import { Pad } from "./pad.js";
import { currentVersion, on, state, tell } from "./state.js";
import { classOf, examplesChanged } from "./task.js";
import { remember, small } from "./thumbnails.js";
import { inLine, sendExamples, sendGood } from "./uploads.js";

const N_NEAREST = 4;
const CAMERA_MS = 150;

/** @typedef {"files" | "pad" | "camera"} Way */

/** The picture that was asked for last, for whoever wants to ask again. @type {{file: File | null, told: import("./answers.js").Told | null}} */
export const tried = { file: null, told: null };

/** @type {AnswerView} */
let view;
/** @type {Pad} */
let pad;
const camera = new Camera();
/** @type {File | null} */
let next = null;
let isAsking = false;
let isChosen = false;
/** @type {Way} */
let way = "files";

/** Lets the open task be tried from now on. */
export function showTrying() {
  pad = new Pad({ name: "Drawing to be labelled", onChange: askForDrawing });
  byId("try-pad").append(pad.element);
  byId("try-camera").append(camera.element, h("div", { class: "row" }, camera.flipButton));
  view = new AnswerView({ place: byId("answer"), onCorrect: correct });
  for (const button of document.querySelectorAll("[data-way]")) {
    button.addEventListener("click", () => {
      isChosen = true;
      choose(/** @type {Way} */ (/** @type {HTMLElement} */ (button).dataset.way));
    });
  }
  acceptChoice(byId("try-files"), ({ found, rejected }) => askForFiles(found.map(({ file }) => file), rejected));
  acceptDrops(byId("try"), ({ found, rejected }) => askForFiles(found.map(({ file }) => file), rejected));
  byId("try-choose").addEventListener("click", () => byId("try-files").click());
  byId("answering").addEventListener("change", askAgain);
  sharesCamera(() => way === "camera" && choose("files"));
  on("task", forget);
  on("versions", update);
  on("examples", update);
}

/** The version that is to answer; null is the current one. @returns {number | null} */
export function answeringVersion() {
  return Number(byId("answering").value) || null;
}

function update() {
  const ready = state.versions.filter((version) => version.state === "ready");
  const isReady = state.task !== null && ready.length > 0;
  byId("try-empty").hidden = isReady;
  byId("try-body").hidden = !isReady;
  if (!isReady) camera.stop();
  const select = byId("answering");
  const chosen = select.value;
  select.replaceChildren(
    h("option", { value: "", text: `the current one (${currentVersion()?.number ?? "–"})` }),
    ...ready.map((version) => h("option", { value: String(version.number), text: `version ${version.number}` })),
  );
  select.value = ready.some((version) => String(version.number) === chosen) ? chosen : "";
  select.closest("label").hidden = ready.length < 2;
  const newest = `${state.task?.id} ${currentVersion()?.number}`;
  if (isReady && select.dataset.newest !== newest) {
    select.dataset.newest = newest;
    if (!isChosen && made.byDrawing) choose("pad");
    askAgain();
  }
}

/** @param {Way} wanted */
async function choose(wanted) {
  way = wanted;
  if (wanted !== "camera") camera.stop();
  for (const button of document.querySelectorAll("[data-way]")) {
    button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.way === wanted));
  }
  byId("try-drop").hidden = wanted !== "files";
  byId("try-pad").hidden = wanted !== "pad";
  byId("try-camera").hidden = wanted !== "camera";
  if (wanted === "camera") await watchCamera();
}

async function watchCamera() {
  releaseCamera();
  if (!(await camera.start())) return;
  while (way === "camera" && camera.isOn) {
    const picture = document.hidden ? null : await camera.picture();
    if (picture && way === "camera") await ask(picture);
    await new Promise((resolve) => setTimeout(resolve, CAMERA_MS));
  }
}

async function askForDrawing() {
  if (pad.isEmpty) clearAnswer();
  else await ask(await pad.picture());
}

async function askAgain() {
  const several = byId("results").querySelectorAll("button").length;
  if (tried.file && several === 0) await ask(tried.file);
  else if (several > 0) clearAnswer();
}

/**
 * Asks for the label of a picture; of those that come while it is asked, only the last is asked next.
 * @param {File} picture
 */
async function ask(picture) {
  next = picture;
  if (isAsking) return;
  isAsking = true;
  try {
    while (next) {
      const file = next;
      next = null;
      await askOne(file);
    }
  } finally {
    isAsking = false;
  }
}

/** @param {File} file */
async function askOne(file) {
  const id = state.task?.id;
  if (!id) return;
  const began = performance.now();
  try {
    const answer = await call("POST", `/v1/tasks/${id}/predict`, { body: file, params: params() });
    if (state.task?.id === id && !(way === "pad" && pad.isEmpty)) show(file, { answer: answer.predictions[0], version: answer.version, ms: performance.now() - began });
  } catch (error) {
    say(byId("try-message"), inWords(error), "problem");
    next = null;
  }
}

/**
 * @param {File[]} files
 * @param {{filename: string, detail: string}[]} rejected
 */
async function askForFiles(files, rejected) {
  if (byId("try-body").hidden) return;
  isChosen = true;
  await choose("files");
  clearAnswer();
  const complaints = [...rejected];
  const most = state.limits.prediction_images ?? 64;
  for (let at = 0; at < files.length; at += most) {
    const began = performance.now();
    try {
      const { answer, good, refused } = await sendGood(files.slice(at, at + most).map((file) => ({ file })), predictForm);
      complaints.push(...refused.map(({ item, detail }) => ({ filename: item.file.name, detail })));
      for (const [index, { file }] of good.entries()) addResult(file, { answer: answer.predictions[index], version: answer.version, ms: (performance.now() - began) / good.length }, files.length);
    } catch (error) {
      complaints.push({ filename: count(files.length, "file"), detail: inWords(error) });
    }
  }
  if (complaints.length > 0) say(byId("try-message"), h("ul", {}, ...complaints.map(({ filename, detail }) => h("li", {}, h("strong", { text: filename }), ` ${detail.replace(`'${filename}'`, "")}`))), "problem");
}

/** @param {{file: File}[]} items */
function predictForm(items) {
  const form = new FormData();
  for (const { file } of items) form.append("files", file, file.name);
  return call("POST", `/v1/tasks/${state.task?.id}/predict`, { body: form, params: params() });
}

function params() {
  return { version: answeringVersion(), nearest: N_NEAREST };
}

/**
 * @param {File} file
 * @param {import("./answers.js").Told} told
 * @param {number} n of how many
 */
async function addResult(file, told, n) {
  if (!tried.file) show(file, told);
  if (n === 1) return;
  const image = h("img", { class: "thumb", alt: "", width: 56, height: 56 });
  const button = h("button", { type: "button", class: "result", on: { click: () => show(file, told) } }, image,
    h("span", { class: "result-name", text: file.name }), h("span", { class: "result-label", text: headline(told.answer) }), h("span", { class: "fine", text: percent(told.answer.probability) }));
  byId("results").append(h("li", {}, button));
  image.src = await small(file);
}

/**
 * @param {File} file
 * @param {import("./answers.js").Told} told
 */
function show(file, told) {
  Object.assign(tried, { file, told });
  say(byId("try-message"), "");
  say(byId("corrected"), "");
  byId("answer").hidden = false;
  view.show(told);
  if (way === "files") showPicture(file);
  const spoken = `${headline(told.answer)}, ${percent(told.answer.probability)}`;
  if (byId("announcer").dataset.label !== told.answer.label) announce(spoken);
  byId("announcer").dataset.label = told.answer.label;
  tell("tried");
}

/** @param {File} file */
async function showPicture(file) {
  const image = byId("try-picture");
  const address = URL.createObjectURL(file);
  image.onload = image.onerror = () => URL.revokeObjectURL(address);
  image.src = address;
  image.alt = `The picture ${file.name}`;
  image.hidden = false;
}

function clearAnswer() {
  Object.assign(tried, { file: null, told: null });
  next = null;
  byId("answer").hidden = true;
  byId("try-picture").hidden = true;
  byId("results").replaceChildren();
  say(byId("try-message"), "");
  say(byId("corrected"), "");
}

function forget() {
  clearAnswer();
  pad.clear();
  isChosen = false;
  if (way === "camera") choose("files");
}

/** @param {string} label */
async function correct(label) {
  const { file } = tried;
  if (!file || !state.task) return;
  const to = classOf(label);
  const path = `/v1/tasks/${state.task.id}/feedback`;
  try {
    await inLine(() =>
      sendExamples(path, [{ file, label }], ({ stored, refused }) => {
        if (refused.length > 0) throw new Error(refused[0].detail);
        to.examples.push(stored[0].example);
        remember(stored[0].example.id, file);
      }));
    examplesChanged();
    say(byId("corrected"), `Added as an example of ${label}. Adapt again to let it count.`, "good");
    announce(`Added as an example of ${label}`);
  } catch (error) {
    say(byId("corrected"), inWords(error), "problem");
  }
}
