// The part of a class card that makes pictures: a pad to draw on, or the camera. One of them is open at a time.

import { Camera } from "./camera.js";
import { h } from "./dom.js";
import { Pad } from "./pad.js";

const BURST_MS = 180;

/** @type {Capture | null} */
let opened = null;
/** @type {(() => void) | null} */
let cameraElsewhere = null;

/** @param {() => void} stop what stops a camera outside of the cards when one of theirs starts */
export function sharesCamera(stop) {
  cameraElsewhere = stop;
}

/** Stops the camera of the cards, for another part of the page. */
export function releaseCamera() {
  if (opened?.camera) opened.close();
}

/** Whether the last examples were drawn, so that a person will want to draw what is to be labelled. */
export const made = { byDrawing: false };

export class Capture {
  /**
   * @param {HTMLElement} place
   * @param {(files: File[]) => Promise<void>} add
   */
  constructor(place, add) {
    this.place = place;
    this.add = add;
    /** @type {"pad" | "camera" | null} */
    this.tool = null;
    /** @type {Camera | null} */
    this.camera = null;
    this.isPressed = false;
  }

  /**
   * Shows a tool, or takes it away if it is there.
   * @param {"pad" | "camera"} tool
   * @param {string} label
   */
  async toggle(tool, label) {
    const isSame = this.tool === tool;
    opened?.close();
    if (isSame) return;
    opened = this;
    this.tool = tool;
    this.place.hidden = false;
    if (tool === "pad") this.openPad(label);
    else await this.openCamera(label);
  }

  close() {
    this.camera?.stop();
    this.camera = null;
    if (opened === this) opened = null;
    this.tool = null;
    this.place.replaceChildren();
    this.place.hidden = true;
  }

  /** @param {string} label */
  openPad(label) {
    const addDrawing = async () => {
      if (pad.isEmpty) return;
      const file = await pad.picture();
      pad.clear();
      made.byDrawing = true;
      await this.add([file]);
    };
    const addButton = h("button", { type: "button", class: "primary", text: "Add drawing", disabled: true, on: { click: addDrawing } });
    const pad = new Pad({ name: `Drawing of ${label}`, onChange: () => { addButton.disabled = pad.isEmpty; }, onEnter: addDrawing });
    this.place.append(pad.element, h("div", { class: "row" }, addButton, this.closeButton()));
    pad.canvas.focus({ preventScroll: true });
  }

  /** @param {string} label */
  async openCamera(label) {
    cameraElsewhere?.();
    const camera = new Camera();
    this.camera = camera;
    const hold = h("button", { type: "button", class: "primary", text: "Hold to take pictures", disabled: true, "aria-label": `Take a picture of ${label}; hold for more` });
    this.place.append(camera.element, h("div", { class: "row" }, hold, camera.flipButton, this.closeButton()));
    hold.disabled = !(await camera.start());
    if (this.camera !== camera) camera.stop();
    made.byDrawing = false;
    this.holdToTake(hold, camera);
  }

  /**
   * One picture at a press, more while it lasts; with the space bar or Enter too.
   * @param {HTMLElement} button
   * @param {Camera} camera
   */
  holdToTake(button, camera) {
    const press = async () => {
      if (this.isPressed) return;
      this.isPressed = true;
      while (this.isPressed && camera.isOn) {
        const picture = await camera.picture();
        if (picture) this.add([picture]);
        await new Promise((resolve) => setTimeout(resolve, BURST_MS));
      }
      this.isPressed = false;
    };
    const release = () => {
      this.isPressed = false;
    };
    const isKey = (/** @type {KeyboardEvent} */ event) => event.key === " " || event.key === "Enter";
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      press();
    });
    for (const end of ["pointerup", "pointercancel", "blur"]) button.addEventListener(end, release);
    button.addEventListener("keydown", (event) => {
      if (!isKey(event)) return;
      event.preventDefault();
      press();
    });
    button.addEventListener("keyup", (event) => isKey(event) && release());
    button.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  closeButton() {
    return h("button", { type: "button", class: "quiet", text: "Close", on: { click: () => this.close() } });
  }
}
