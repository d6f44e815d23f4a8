// One answer on the screen: what it is, how probable each class is, the examples it is most like, and a way to correct it.

import { count, duration, h, percent } from "./dom.js";
import { state } from "./state.js";
import { thumbnail } from "./thumbnails.js";

const MOST_BARS = 8;
const NONE = "None of these";

/**
 * @typedef {{label: string, probability: number, scores: {label: string, probability: number}[], unknown?: number, is_unknown?: boolean, below_threshold?: boolean, nearest?: {example_id: string, label: string, similarity: number}[]}} Answer
 * @typedef {{answer: Answer, version: number, ms: number}} Told
 */

/**
 * What an answer says, in few words.
 * @param {Answer} answer
 */
export function headline(answer) {
  if (answer.is_unknown) return NONE;
  return answer.below_threshold ? `Not sure; maybe ${answer.label}` : answer.label;
}

/** The bars of an answer; they stay where they are from one answer to the next, so that they can be seen to move. */
export class AnswerView {
  /** @param {{place: HTMLElement, onCorrect: (label: string) => void}} about */
  constructor({ place, onCorrect }) {
    /** @type {Map<string, {row: HTMLElement, bar: HTMLElement, share: HTMLElement}>} */
    this.rows = new Map();
    this.title = h("p", { class: "verdict" });
    this.note = h("p", { class: "verdict-note" });
    this.bars = h("ul", { class: "bars", "aria-label": "Probability of each class" });
    this.nearest = h("div", { class: "nearest" });
    this.select = h("select", { "aria-label": "What this really was" });
    this.correction = h("div", { class: "row correction" }, h("label", {}, "This was really ", this.select),
      h("button", { type: "button", class: "quiet", text: "Add as example", on: { click: () => onCorrect(this.select.value) } }));
    this.foot = h("p", { class: "fine" });
    this.element = h("div", { class: "answer" }, this.title, this.note, this.bars, this.nearest, this.correction, this.foot);
    place.replaceChildren(this.element);
  }

  /** @param {Told} told */
  show({ answer, version, ms }) {
    this.element.classList.toggle("is-unknown", answer.is_unknown === true);
    this.title.textContent = headline(answer);
    this.note.textContent = noteOn(answer);
    this.showBars(answer);
    this.showNearest(answer);
    this.showCorrection(answer);
    this.foot.textContent = `Version ${version}, answered in ${duration(ms)}`;
  }

  /** @param {Answer} answer */
  showBars(answer) {
    const byLabel = new Map(answer.scores.map((score) => [score.label, score.probability]));
    const order = state.classes.map((each) => each.label).filter((label) => byLabel.has(label));
    const labels = byLabel.size > MOST_BARS || order.length < byLabel.size ? answer.scores.slice(0, MOST_BARS).map((score) => score.label) : order;
    const rows = labels.map((label) => this.row(label, byLabel.get(label) ?? 0, label === answer.label && !answer.is_unknown));
    if (typeof answer.unknown === "number") rows.push(this.row(NONE, answer.unknown, answer.is_unknown === true, "unknown"));
    const isSame = rows.length === this.bars.children.length && rows.every((row, index) => this.bars.children[index] === row);
    if (!isSame) this.bars.replaceChildren(...rows);
  }

  /**
   * @param {string} label
   * @param {number} share
   * @param {boolean} isTop
   * @param {string} [kind]
   */
  row(label, share, isTop, kind = "class") {
    const name = `${kind} ${label}`;
    let parts = this.rows.get(name);
    if (!parts) {
      const [bar, shown] = [h("span", { class: "bar-fill" }), h("span", { class: "bar-share" })];
      const row = h("li", { class: `bar is-${kind}` }, h("span", { class: "bar-label", text: label, title: label }), h("span", { class: "bar-track", "aria-hidden": "true" }, bar), shown);
      parts = { row, bar, share: shown };
      this.rows.set(name, parts);
    }
    parts.bar.style.transform = `scaleX(${share})`;
    parts.share.textContent = percent(share);
    parts.row.classList.toggle("is-top", isTop);
    return parts.row;
  }

  /** @param {Answer} answer */
  showNearest(answer) {
    const near = answer.nearest ?? [];
    this.nearest.hidden = near.length === 0;
    const wanted = near.map((each) => each.example_id).join();
    if (this.nearest.dataset.shown === wanted) return;
    this.nearest.dataset.shown = wanted;
    const tiles = near.map(({ example_id, label, similarity }) =>
      h("li", {}, thumbnail(state.task?.id ?? "", example_id, `example of ${label}`), h("span", { text: label }), h("span", { class: "fine", text: `${similarity.toFixed(2)} alike` })));
    this.nearest.replaceChildren(h("h4", { text: "Most like these examples" }), h("ul", { class: "thumbs" }, ...tiles));
  }

  /** @param {Answer} answer */
  showCorrection(answer) {
    const labels = state.classes.map((each) => each.label);
    if (this.select.dataset.labels !== labels.join("\n")) {
      this.select.dataset.labels = labels.join("\n");
      this.select.replaceChildren(...labels.map((label) => h("option", { value: label, text: label })));
    }
    if (document.activeElement !== this.select) this.select.value = answer.label;
  }
}

/** @param {Answer} answer */
function noteOn(answer) {
  if (answer.is_unknown) return `It looks like none of the ${count(state.classes.length, "class")}. The nearest would be ${answer.label}.`;
  if (answer.below_threshold) return `${percent(answer.probability)} is below the threshold of this task.`;
  return `${percent(answer.probability)} sure`;
}
