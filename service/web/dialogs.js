// Questions that need an answer before anything goes on: sure about this? what is the key?

import { byId, say } from "./dom.js";

/**
 * Asks whether something that cannot be undone should be done.
 * @param {{title: string, text: string, action: string}} question `action` is the word on the button that does it
 * @returns {Promise<boolean>}
 */
export function confirm({ title, text, action }) {
  const dialog = byId("confirm");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = action;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/**
 * Asks for the service's key until one is given.
 * @param {boolean} isWrong the last one was not it
 * @returns {Promise<string>}
 */
export function askForKey(isWrong) {
  const dialog = byId("key-dialog");
  const input = byId("key-text");
  say(byId("key-problem"), isWrong ? "This is not the key." : "", "problem");
  input.value = "";
  if (!dialog.open) dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    byId("key-form").addEventListener(
      "submit",
      (/** @type {Event} */ event) => {
        event.preventDefault();
        dialog.close();
        resolve(input.value.trim());
      },
      { once: true },
    );
  });
}

/** Makes the page's dialogs close at their buttons, and the one for the key at nothing but a key. */
export function prepareDialogs() {
  for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog")?.close(/** @type {HTMLElement} */ (button).dataset.close));
  }
  byId("key-dialog").addEventListener("cancel", (/** @type {Event} */ event) => event.preventDefault());
}
