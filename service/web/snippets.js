// The same from a terminal or a program: commands for exactly the task that is on the screen.

import { hasKey } from "./api.js";
import { announce, byId, h } from "./dom.js";
import { on, state } from "./state.js";
import { answeringVersion } from "./trying.js";

/** Shows the commands from now on. */
export function showSnippets() {
  for (const change of /** @type {const} */ (["task", "examples", "versions", "tried"])) on(change, update);
  byId("answering").addEventListener("change", update);
}

function update() {
  const parts = state.task?.current_version ? [["Ask it", askShell(), askPython()]] : [];
  parts.push(["Make it again", makeShell(), makePython()]);
  byId("snippets").replaceChildren(...parts.map(([title, shell, python]) => h("div", {}, h("h4", { text: title }), code("Shell", title, shell), code("Python", title, python))));
}

function askShell() {
  return `curl ${key()}'${location.origin}/v1/tasks/${state.task?.id}/predict${query()}' --data-binary @picture.jpg -H 'Content-Type: image/jpeg'`;
}

function askPython() {
  const more = [answeringVersion() ? `, version=${answeringVersion()}` : "", ", nearest=4"].join("");
  return python(`    answer = client.predict(${text(state.task?.id ?? "")}, "picture.jpg"${more})\n    print(answer.label, answer.probability)`);
}

function makeShell() {
  const fields = [state.name && `--form-string ${shell(`name=${state.name}`)}`, baseModel() && `-F base_model=${baseModel()}`].filter(Boolean);
  const folders = labels().map((label) => shell(label.startsWith("-") ? `./${label}` : label));
  return [
    `# a folder with pictures for each class: ${labels().join(", ")}`,
    `python3 -m zipfile -c examples.zip ${folders.join(" ")}`,
    `curl ${key()}'${location.origin}/v1/tasks' ${[...fields, "-F archive=@examples.zip"].join(" ")}`,
  ].join("\n");
}

function makePython() {
  const base = baseModel() ? `, base_model=${text(baseModel())}` : "";
  return python(
    [
      `    labels = [${labels().map(text).join(", ")}]  # a folder with pictures for each`,
      `    examples = {label: sorted(Path(label).iterdir()) for label in labels}`,
      `    task = client.create_task(${state.name ? text(state.name) : "None"}, examples${base})`,
      `    print(task.id)`,
    ].join("\n"),
    "from pathlib import Path\n\n",
  );
}

/**
 * @param {string} body
 * @param {string} [imports]
 */
function python(body, imports = "") {
  const credentials = hasKey() ? ', api_key=os.environ["HANDFUL_API_KEY"]' : "";
  const head = hasKey() ? `import os\n${imports || "\n"}` : imports;
  return `${head}from service.client import Client\n\nwith Client(${text(location.origin)}${credentials}) as client:\n${body}`;
}

function query() {
  const wanted = Object.entries({ version: answeringVersion(), nearest: 4 }).filter(([, value]) => value !== null);
  return wanted.length > 0 ? `?${wanted.map(([name, value]) => `${name}=${value}`).join("&")}` : "";
}

function key() {
  return hasKey() ? '-H "Authorization: Bearer $HANDFUL_API_KEY" ' : "";
}

function labels() {
  return state.classes.filter((each) => !each.isLeftOut).map((each) => each.label);
}

function baseModel() {
  return state.task?.base_model ?? state.baseModel;
}

/** @param {string} value as a string of Python */
function text(value) {
  return JSON.stringify(value);
}

/** @param {string} value as one word of a shell */
function shell(value) {
  return /^[\w=.,-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}

/**
 * @param {string} language
 * @param {string} what
 * @param {string} lines
 */
function code(language, what, lines) {
  const copy = h("button", { type: "button", class: "quiet copy", text: "Copy", "aria-label": `Copy the ${language} for: ${what}` });
  copy.addEventListener("click", async () => {
    await toClipboard(lines);
    copy.textContent = "Copied";
    announce("Copied");
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  return h("div", { class: "snippet" }, h("div", { class: "snippet-head" }, h("span", { text: language }), copy), h("pre", { tabIndex: 0, role: "group", "aria-label": `${language}: ${what}` }, h("code", { text: lines })));
}

/** @param {string} lines */
async function toClipboard(lines) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(lines);
    return;
  }
  const area = h("textarea", { value: lines });
  area.value = lines;
  document.body.append(area);
  area.select();
  document.execCommand("copy"); // the only way where the page is not served securely
  area.remove();
}
