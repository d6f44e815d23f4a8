// What the task keeps of its pictures, and how long it is kept itself.

import { call } from "./api.js";
import { confirm } from "./dialogs.js";
import { byId, h, inWords, say } from "./dom.js";
import { on, state } from "./state.js";
import { refreshExamples, taskId } from "./task.js";

const AS_IT_IS = "as it is";
const STORES = ["images", "features", "nothing"];
const WARNINGS = {
  features: "Their features stay, so that it can learn more with most learners. The pictures themselves cannot be had back.",
  nothing: "Only the classifier stays: it answers, and cannot learn any more. The pictures cannot be had back.",
};

/** Shows what is kept from now on. */
export function showKeeping() {
  byId("store").addEventListener("change", () => attempt(changeStore));
  byId("keep").addEventListener("change", () => attempt(changeKeep));
  on("task", update);
  on("versions", update);
}

function update() {
  byId("store").value = state.task?.store ?? "images";
  const expires_at = state.task?.expires_at;
  byId("keep").querySelector(`[value="${AS_IT_IS}"]`)?.remove();
  if (expires_at) byId("keep").prepend(h("option", { value: AS_IT_IS, text: `until ${new Date(expires_at).toLocaleString("en", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hour12: false })}` }));
  byId("keep").value = expires_at ? AS_IT_IS : "";
}

async function changeStore() {
  const store = /** @type {"images" | "features" | "nothing"} */ (byId("store").value);
  const isStricter = STORES.indexOf(store) > STORES.indexOf(state.task?.store ?? "images");
  const sure = !isStricter || !state.task?.current_version || store === "images" || (await confirm({ title: "Forget the pictures?", text: WARNINGS[store], action: "Forget them" }));
  if (sure) await change({ store });
}

async function changeKeep() {
  const seconds = byId("keep").value;
  if (seconds !== AS_IT_IS) await change({ keep_s: seconds ? Number(seconds) : null });
}

/** @param {{store?: string, keep_s?: number | null}} changes */
async function change(changes) {
  const id = await taskId();
  state.task = await call("PATCH", `/v1/tasks/${id}`, { json: changes });
  if (changes.store) await refreshExamples();
}

/** @param {() => Promise<void>} work */
async function attempt(work) {
  const place = byId("keep-message");
  try {
    say(place, "");
    await work();
  } catch (error) {
    say(place, inWords(error), "problem");
  }
  update();
}
