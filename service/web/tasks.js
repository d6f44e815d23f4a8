// The list of tasks: open one, rename it, delete it, begin another.

import { call } from "./api.js";
import { byId, count, h, inWords, say } from "./dom.js";
import { confirm } from "./dialogs.js";
import { state, tell } from "./state.js";
import { beginAnew, open, remove } from "./task.js";
import { whenSent } from "./uploads.js";

const PAGE = 30;

/** @type {string | null} where the list goes on */
let cursor = null;

/** Lets the list of tasks be opened from now on. */
export function showTasks() {
  byId("open-tasks").addEventListener("click", async () => {
    byId("tasks-dialog").showModal();
    await list();
  });
  byId("new-task").addEventListener("click", () => leaveFor(async () => beginAnew()));
  byId("new-task-in-list").addEventListener("click", () => leaveFor(async () => beginAnew()));
  byId("more-tasks").addEventListener("click", more);
}

async function list() {
  byId("task-list").replaceChildren();
  cursor = null;
  await more();
}

async function more() {
  const message = byId("tasks-message");
  try {
    const page = await call("GET", "/v1/tasks", { params: { limit: PAGE, cursor } });
    byId("task-list").append(...page.items.map(item));
    cursor = page.next_cursor;
    say(message, byId("task-list").children.length === 0 ? "There is no task yet." : "");
  } catch (error) {
    say(message, inWords(error), "problem");
  }
  byId("more-tasks").hidden = !cursor;
}

/** @param {import("./state.js").Task} task */
function item(task) {
  const name = task.name ?? "Untitled";
  const about = `${task.classes.length > 0 ? count(task.classes.length, "class") : "no class"}, ${count(task.n_examples, "example")} · ${condition(task)} · ${new Date(task.created_at).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" })}`;
  const message = h("p", { class: "message", hidden: true, role: "alert" });
  const title = h("button", { type: "button", class: "task-open", "aria-current": state.task?.id === task.id && "true", on: { click: () => leaveFor(() => open(task.id)) } }, h("strong", { text: name }), h("span", { class: "fine", text: about }));
  const row = h("li", { class: "task" }, h("div", { class: "task-line" }, title, button("Rename", name, () => renameIn(row, task)), button("Delete", name, () => removeFrom(row, task, message))), message);
  return row;
}

/**
 * @param {string} text
 * @param {string} name
 * @param {() => unknown} action
 */
function button(text, name, action) {
  return h("button", { type: "button", class: "quiet", text, "aria-label": `${text} ${name}`, on: { click: action } });
}

/** @param {import("./state.js").Task} task */
function condition(task) {
  if (task.state === "ready") return `version ${task.current_version}`;
  return task.state === "empty" ? "not adapted yet" : task.state;
}

/**
 * @param {HTMLElement} row
 * @param {import("./state.js").Task} task
 */
function renameIn(row, task) {
  const input = h("input", { class: "text", value: task.name ?? "", maxLength: 200, "aria-label": "New name of the task" });
  input.value = task.name ?? "";
  const form = h("form", { class: "row" }, input, h("button", { class: "primary", text: "Rename" }));
  const message = h("p", { class: "message", hidden: true, role: "alert" });
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      const changed = await call("PATCH", `/v1/tasks/${task.id}`, { json: { name: input.value.trim() || null } });
      if (state.task?.id === task.id) {
        Object.assign(state, { task: changed, name: changed.name ?? "" });
        tell("task", "versions");
      }
      const renamed = item(changed);
      row.replaceWith(renamed);
      renamed.querySelector("button")?.focus();
    } catch (error) {
      say(message, inWords(error), "problem");
    }
  });
  row.replaceChildren(form, message);
  input.select();
}

/**
 * @param {HTMLElement} row
 * @param {import("./state.js").Task} task
 * @param {HTMLElement} message
 */
async function removeFrom(row, task, message) {
  const sure = await confirm({ title: `Delete ${task.name ?? "this task"}?`, text: `${count(task.n_examples, "example")} and every version will be gone for good.`, action: "Delete task" });
  if (!sure) return;
  try {
    await remove(task.id);
    row.remove();
    byId("new-task-in-list").focus();
  } catch (error) {
    say(message, inWords(error), "problem");
  }
}

/**
 * Leaves the open task for another, once its examples have arrived.
 * @param {() => Promise<void>} go
 */
async function leaveFor(go) {
  const message = byId("tasks-message");
  try {
    await whenSent();
    await go();
    byId("tasks-dialog").close();
    byId("task-name").focus();
  } catch (error) {
    say(message, inWords(error), "problem");
  }
}
