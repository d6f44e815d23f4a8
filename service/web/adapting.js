// Adapting: the choice of base model and learner, the button, and watching a version until it is ready.

import { call, events, pause } from "./api.js";
import { announce, byId, count, duration, h, inWords, say } from "./dom.js";
import { confirm } from "./dialogs.js";
import { copyTask } from "./copies.js";
import { nTakenIn, on, state, tell, whyNotAdaptable } from "./state.js";
import { keepScreen, open, refresh, refreshExamples, taskId } from "./task.js";
import { isSending, whenSent } from "./uploads.js";

const POLL_MS = 150;

let isAdapting = false;

/** Shows how to adapt from now on. */
export function showAdapting() {
  byId("adapt").addEventListener("click", adapt);
  byId("base-model").addEventListener("change", chooseBaseModel);
  byId("learner").addEventListener("change", showLearner);
  on("task", showModels);
  on("task", follow);
  on("task", () => say(byId("adapt-message"), ""));
  on("examples", update);
  on("versions", () => {
    if (byId("base-model").value !== (state.task?.base_model ?? state.baseModel)) showModels();
    update();
  });
}

async function adapt() {
  const began = performance.now();
  isAdapting = true;
  update();
  try {
    if (isSending()) say(byId("adapt-message"), "Waiting for the pictures to arrive …");
    await whenSent();
    const id = await taskId();
    const made = await call("POST", `/v1/tasks/${id}/adapt`, { json: { ...options(), wait: 0 }, once: true });
    await finish(id, made.number, began);
  } catch (error) {
    say(byId("adapt-message"), inWords(error), "problem");
  } finally {
    isAdapting = false;
    update();
  }
}

/** Watches what is being adapted already when a task is opened. */
async function follow() {
  if (!state.task?.pending_version || isAdapting) return;
  isAdapting = true;
  update();
  await finish(state.task.id, state.task.pending_version, performance.now()).catch((error) => say(byId("adapt-message"), inWords(error), "problem"));
  isAdapting = false;
  update();
}

/**
 * @param {string} id
 * @param {number} number
 * @param {number} began
 */
async function finish(id, number, began) {
  const [nUsed, older] = [nTakenIn(), state.task?.current_version];
  const progress = byId("adapt-progress");
  progress.hidden = false;
  const show = (/** @type {string} */ what) => say(byId("adapt-message"), `${what} ${duration(performance.now() - began)}${older ? `; version ${older} answers meanwhile` : ""}`);
  show("Adapting …");
  byId("adapt-message").scrollIntoView({ block: "nearest" });
  const ticker = setInterval(() => show("Adapting …"), 100);
  try {
    const version = await watch(id, number, (share) => { if (share) progress.value = share; });
    if (state.task?.id !== id) return;
    if (version.state === "failed") throw new Error(version.error?.detail ?? "the adaptation failed");
    state.isChanged = nTakenIn() !== nUsed;
    await refresh();
    if (state.task?.store !== "images") await refreshExamples();
    const sentence = `Version ${number} is ready: adapted to ${count(version.report?.n_support ?? nUsed, "example")} in ${duration(performance.now() - began)}.`;
    say(byId("adapt-message"), sentence, "good");
    announce(sentence);
    showWhereToTry();
  } finally {
    clearInterval(ticker);
    progress.hidden = true;
    progress.removeAttribute("value");
  }
}

/** Brings the place to try it into view, where it is not: below on a phone, above beside many classes. */
function showWhereToTry() {
  const { top, bottom } = byId("try").getBoundingClientRect();
  if (bottom <= 0 || top >= innerHeight) byId("try").scrollIntoView();
}

/**
 * A version, once it is ready or failed.
 * @param {string} id
 * @param {number} number
 * @param {(share: number | null) => void} onProgress
 * @returns {Promise<import("./state.js").Version>}
 */
async function watch(id, number, onProgress) {
  const path = `/v1/tasks/${id}/versions/${number}`;
  for (;;) {
    const version = await call("GET", path);
    if (version.state === "ready" || version.state === "failed") return version;
    await events("GET", `${path}/events`, {}, (_, data) => onProgress(data.progress ?? null)).catch(() => pause(POLL_MS));
  }
}

function update() {
  const button = byId("adapt");
  const why = whyNotAdaptable();
  button.disabled = why !== "" || isAdapting;
  button.textContent = why ? "Adapt" : `Adapt to ${count(nTakenIn(), "example")}`;
  button.classList.toggle("is-due", !why && (state.isChanged || state.versions.length === 0));
  const newest = state.versions[0];
  const hint = why || (newest?.state === "failed" && !isAdapting ? `Version ${newest.number} failed: ${newest.error?.detail}` : "");
  say(byId("adapt-hint"), hint || (state.isChanged && state.task?.current_version ? "Examples changed since the last version." : ""));
}

/** Fills the choice of base models. */
function showModels() {
  const select = byId("base-model");
  const chosen = state.task?.base_model ?? state.baseModel;
  const cards = state.baseModels.map((card) => h("option", { value: card.id, text: `${card.id}: ${card.purpose.split(":")[0].toLowerCase()}` }));
  const free = state.task?.base_model ? [] : [h("option", { value: "", text: "Choose for me" })];
  select.replaceChildren(...free, ...cards);
  select.value = chosen;
  showLearners();
}

function showLearners() {
  const card = state.baseModels.find((each) => each.id === (state.task?.base_model ?? state.baseModel));
  const names = (card?.learners ?? []).map((/** @type {any} */ each) => each.name);
  const usual = state.task?.learner ?? card?.default_learner;
  byId("learner").replaceChildren(
    h("option", { value: "", text: usual ? `${usual} (as before)`.replace("as before", state.task?.learner ? "as the task has it" : "usual") : "The base model's usual one" }),
    ...names.filter((/** @type {string} */ name) => name !== usual).map((/** @type {string} */ name) => h("option", { value: name, text: name })),
  );
  showLearner();
}

function showLearner() {
  const card = state.baseModels.find((each) => each.id === (state.task?.base_model ?? state.baseModel));
  const name = byId("learner").value || state.task?.learner || card?.default_learner;
  const settings = card?.learners.find((/** @type {any} */ each) => each.name === name)?.settings ?? {};
  for (const option of ["steps", "lr"]) {
    byId(option).closest("label").hidden = !(option in settings);
    byId(option).value = "";
    byId(option).placeholder = settings[option] === undefined ? "" : String(settings[option]);
  }
}

/** What the advanced part of the form says. */
function options() {
  const value = (/** @type {string} */ id) => (byId(id).closest("[hidden]") ? "" : byId(id).value);
  return {
    ...(value("learner") && { learner: value("learner") }),
    ...(value("steps") && { steps: Number(value("steps")) }),
    ...(value("lr") && { lr: Number(value("lr")) }),
  };
}

async function chooseBaseModel() {
  const wanted = byId("base-model").value;
  if (!state.task) {
    state.baseModel = wanted;
    keepScreen();
    showLearners();
    return;
  }
  const isUsed = state.versions.length > 0;
  const question = { title: `Copy this task for ${wanted}?`, text: "A task keeps its base model. A copy with the same examples will be opened; this one stays as it is.", action: "Make a copy" };
  if (isUsed && !(await confirm(question))) {
    showModels();
    return;
  }
  try {
    say(byId("adapt-message"), "Copying the examples …");
    await open(await copyTask(wanted, { keeps: isUsed }));
    say(byId("adapt-message"), "");
    tell("examples");
  } catch (error) {
    say(byId("adapt-message"), inWords(error), "problem");
    showModels();
  }
}
