// A copy of the open task for another base model: the same examples and wishes, none of the versions.

import { call, request } from "./api.js";
import { keepLabels } from "./drafts.js";
import { state } from "./state.js";
import { remove, taskId } from "./task.js";
import { inLine, sendExamples } from "./uploads.js";

/**
 * Makes the copy and gives its id.
 * @param {string} baseModel empty: the service chooses
 * @param {{keeps: boolean}} how whether the copied task stays
 * @returns {Promise<string>}
 */
export async function copyTask(baseModel, { keeps }) {
  const old = await taskId();
  return inLine(async () => {
    const name = state.name && keeps ? `${state.name} (${baseModel})`.slice(0, 200) : state.name;
    const body = { ...(name && { name }), ...(baseModel && { base_model: baseModel }), ...(await wishes(old)) };
    const made = await call("POST", "/v1/tasks", { json: body, once: true });
    keepLabels(made.id, state.classes.map((each) => each.label));
    for (const { label, examples, isLeftOut } of state.classes) {
      await copyExamples(old, made.id, label, examples);
      if (isLeftOut) await call("PATCH", `/v1/tasks/${made.id}/classes/${encodeURIComponent(label)}`, { json: { is_left_out: true } });
    }
    if (!keeps) await remove(old);
    return made.id;
  });
}

/**
 * What else was said of a task, as it is said of a new one; its end is as far away, by the service's clock.
 * @param {string} id
 */
async function wishes(id) {
  const answer = await request("GET", `/v1/tasks/${id}`);
  const { store, threshold, metadata, expires_at } = await answer.json();
  const left_s = (Date.parse(expires_at) - Date.parse(answer.headers.get("Date") ?? "")) / 1000;
  return { store, threshold, metadata, ...(expires_at && { keep_s: Math.max(1, left_s) }) };
}

/**
 * @param {string} from
 * @param {string} to
 * @param {string} label
 * @param {import("./state.js").Example[]} examples
 */
async function copyExamples(from, to, label, examples) {
  const items = [];
  for (const example of examples) {
    const blob = await (await request("GET", `/v1/tasks/${from}/examples/${example.id}`)).blob();
    items.push({ file: new File([blob], example.filename ?? "example", { type: blob.type }), label, group: example.group });
  }
  await sendExamples(`/v1/tasks/${to}/examples`, items, ({ refused }) => {
    if (refused.length > 0) throw new Error(refused[0].detail);
  });
}
