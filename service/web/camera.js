// The webcam: a live picture, and still pictures of it. Says why where there is none.

import { h, say } from "./dom.js";

const LONG_SIDE_PX = 640;

/** A live picture of a camera, with a button for the next camera where there are several. */
export class Camera {
  constructor() {
    /** @type {MediaStream | null} */
    this.stream = null;
    this.facing = "user";
    this.video = h("video", { class: "camera", muted: true, playsInline: true, "aria-label": "What the camera sees" });
    this.problem = h("p", { class: "message", role: "alert", hidden: true });
    this.flipButton = h("button", { type: "button", class: "quiet", text: "Other camera", hidden: true, on: { click: () => this.flip() } });
    this.element = h("div", { class: "camera-frame" }, this.problem, this.video);
  }

  get isOn() {
    return this.stream !== null;
  }

  /** Shows what the camera sees; says why where it cannot. @returns {Promise<boolean>} whether it can */
  async start() {
    if (this.stream) return true;
    say(this.problem, "");
    try {
      if (!navigator.mediaDevices) throw new Error(insecure());
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: this.facing, width: { ideal: 1280 } }, audio: false });
    } catch (error) {
      this.video.hidden = true;
      say(this.problem, whyNot(/** @type {Error} */ (error)), "problem");
      return false;
    }
    this.video.hidden = false;
    this.video.srcObject = this.stream;
    this.video.classList.toggle("is-mirrored", this.facing === "user");
    await this.video.play().catch(() => {});
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
    this.flipButton.hidden = cameras.length < 2;
    return true;
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  async flip() {
    this.facing = this.facing === "user" ? "environment" : "user";
    this.stop();
    await this.start();
  }

  /**
   * What the camera sees now, as it is and not mirrored; null before its first picture.
   * @returns {Promise<File | null>}
   */
  async picture() {
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth) return null;
    const scale = Math.min(1, LONG_SIDE_PX / Math.max(videoWidth, videoHeight));
    const canvas = h("canvas", { width: Math.round(videoWidth * scale), height: Math.round(videoHeight * scale) });
    canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
    /** @type {Blob | null} */
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
    return blob && new File([blob], `webcam-${Date.now()}.jpg`, { type: "image/jpeg" });
  }
}

function insecure() {
  return `Browsers open the camera only for https:// or for this machine itself. Open http://localhost:${location.port || 80} on the machine that runs Handful, or put HTTPS in front of it.`;
}

/** @param {Error} error */
function whyNot(error) {
  if (error.name === "NotAllowedError") return "The browser was told not to use the camera. Allow it in the address bar, then try again.";
  if (error.name === "NotFoundError" || error.name === "OverconstrainedError") return "No camera was found.";
  if (error.name === "NotReadableError") return "The camera is in use by another program.";
  return error.message;
}
