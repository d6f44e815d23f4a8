// The threshold of the open task: below it an answer counts as unsure.

import { call } from "./api.js";
import { byId, inWords, percent, say } from "./dom.js";
import { currentVersion, on, state } from "./state.js";

/** Shows the threshold from now on. */
export function showThreshold() {
  byId("threshold").addEventListener("input", () => {
    byId("threshold-shown").textContent = percent(Number(byId("threshold").value));
  });
  byId("threshold").addEventListener("change", () => set(Number(byId("threshold").value)));
  byId("threshold-suggested").addEventListener("click", () => set(null));
  on("versions", update);
  on("task", update);
}

function update() {
  byId("threshold-form").hidden = !state.task?.current_version;
  const suggested = currentVersion()?.report?.threshold?.suggested;
  const own = state.task?.threshold;
  const value = own ?? suggested ?? 0;
  byId("threshold").value = String(value);
  byId("threshold-shown").textContent = `${percent(value)}${own === null || own === undefined ? (suggested === undefined ? "" : ", as suggested") : ""}`;
  byId("threshold-suggested").hidden = own === null || own === undefined;
  byId("threshold-suggested").textContent = suggested === undefined ? "Use none" : `Use the suggested ${percent(suggested)}`;
}

/** @param {number | null} threshold */
async function set(threshold) {
  try {
    state.task = await call("PATCH", `/v1/tasks/${state.task?.id}`, { json: { threshold } });
    say(byId("threshold-message"), "");
    byId("answering").dispatchEvent(new Event("change"));
  } catch (error) {
    say(byId("threshold-message"), inWords(error), "problem");
  }
  update();
}
