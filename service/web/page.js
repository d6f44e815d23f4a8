// The page at `/`: reads what the service is, shows every part, opens the task that the address names.

import { call, onKeyWanted } from "./api.js";
import { showAdapting } from "./adapting.js";
import { showClasses } from "./cards.js";
import { askForKey, prepareDialogs } from "./dialogs.js";
import { byId, inWords, say } from "./dom.js";
import { showEvaluating } from "./evaluating.js";
import { showKeeping } from "./keeping.js";
import { showReport } from "./report.js";
import { showSnippets } from "./snippets.js";
import { on, state } from "./state.js";
import { showSuggesting } from "./suggesting.js";
import { begin, open, rename } from "./task.js";
import { showTasks } from "./tasks.js";
import { showThreshold } from "./threshold.js";
import { showTrying } from "./trying.js";
import { isSending } from "./uploads.js";
import { showVersions } from "./versions.js";

async function start() {
  prepareDialogs();
  onKeyWanted(askForKey);
  for (const show of [showClasses, showAdapting, showTrying, showReport, showVersions, showEvaluating, showThreshold, showSuggesting, showKeeping, showSnippets, showTasks, showName]) show();
  addEventListener("popstate", openAddressed);
  addEventListener("beforeunload", (event) => isSending() && event.preventDefault());
  for (const event of ["dragover", "drop"]) addEventListener(event, (each) => each.preventDefault());
  addEventListener("click", closeMenus);
  try {
    [state.baseModels, state.limits] = await Promise.all([call("GET", "/v1/base-models").then((answer) => answer.items), call("GET", "/v1/limits")]);
  } catch (error) {
    say(byId("page-message"), inWords(error), "problem");
    return;
  }
  await openAddressed();
  document.body.classList.add("is-ready");
}

/** Opens the task that the address names; what was begun where it names none. */
async function openAddressed() {
  const id = location.hash.slice(1);
  if (id === (state.task?.id ?? "") && document.body.classList.contains("is-ready")) return;
  say(byId("page-message"), "");
  if (!id) {
    begin();
    return;
  }
  try {
    await open(id);
  } catch (error) {
    begin();
    say(byId("page-message"), inWords(error), "problem");
  }
}

function showName() {
  const input = byId("task-name");
  on("task", () => {
    if (document.activeElement !== input) input.value = state.name;
    document.title = `${state.name || "New task"} · Handful`;
  });
  input.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && input.blur());
  input.addEventListener("change", async () => {
    try {
      await rename(input.value);
      document.title = `${state.name || "New task"} · Handful`;
      say(byId("page-message"), "");
    } catch (error) {
      say(byId("page-message"), inWords(error), "problem");
    }
  });
}

/** @param {MouseEvent} event */
function closeMenus(event) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(/** @type {Node} */ (event.target))) menu.removeAttribute("open");
  }
}

start();
