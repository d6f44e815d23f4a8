// The cards of the classes: a name, ways to give examples, and the examples.

import { byId, count, h, inWords, say } from "./dom.js";
import { Capture } from "./capture.js";
import { confirm } from "./dialogs.js";
import { addFiles, addFolders, leaveOut, removeClass, removeExamples, renameClass, saveExamples } from "./examples.js";
import { acceptChoice, acceptDrops } from "./files.js";
import { currentVersion, on, state } from "./state.js";
import { addClass } from "./task.js";
import { thumbnail } from "./thumbnails.js";

const SHOWN = 24;

/** @typedef {import("./state.js").Class} Class */

/** @type {Map<Class, Card>} */
const cards = new Map();

/** Shows the classes of the open task from now on. */
export function showClasses() {
  on("examples", update);
  on("versions", update);
  byId("add-class").addEventListener("click", () => {
    const added = addClass();
    cards.get(added)?.name.select();
  });
  const everywhere = byId("examples");
  acceptDrops(everywhere, (collected) => addFolders(collected, complainAt));
  acceptChoice(byId("choose-folders"), (collected) => addFolders(collected, complainAt));
  acceptChoice(byId("choose-zip"), (collected) => addFolders(collected, complainAt));
}

/** @param {Class | null} to */
function complainAt(to) {
  const place = to ? cards.get(to)?.message : byId("folders-message");
  return (/** @type {{filename: string, detail: string}[]} */ refused) => complain(place ?? byId("folders-message"), refused);
}

/**
 * @param {HTMLElement} place
 * @param {{filename: string, detail: string}[]} refused
 * @param {boolean} [others] whether there were others
 */
function complain(place, refused, others = true) {
  const list = h("ul", {}, ...refused.slice(0, 8).map(({ filename, detail }) => h("li", {}, h("strong", { text: filename }), `: ${sentence(filename, detail)}`)));
  if (refused.length > 8) list.append(h("li", { text: `and ${refused.length - 8} more` }));
  say(place, h("div", {}, h("p", { text: `Not added: ${count(refused.length, "file")}.${others ? " The others were kept." : ""}` }), list), "problem");
}

/**
 * The service begins some sentences with the name of the file, which stands there already.
 * @param {string} filename
 * @param {string} detail
 */
function sentence(filename, detail) {
  return detail.replace(`'${filename}'`, "").replace(/^[\s:]+/, "");
}

function update() {
  const list = byId("classes");
  for (const [known, card] of cards) {
    if (state.classes.includes(known)) continue;
    card.capture.close();
    card.element.remove();
    cards.delete(known);
  }
  for (const each of state.classes) {
    const card = cards.get(each) ?? new Card(each);
    cards.set(each, card);
    if (card.element.parentElement !== list) list.append(card.element);
    card.update();
  }
}

class Card {
  /** @param {Class} shown */
  constructor(shown) {
    this.shown = shown;
    this.isWhole = false;
    this.isRenaming = false;
    /** @type {Map<string, HTMLElement>} */
    this.tiles = new Map();
    this.element = /** @type {HTMLElement} */ (byId("class-template").content.firstElementChild.cloneNode(true));
    this.name = this.find(".class-name");
    this.number = this.find(".class-count");
    this.message = this.find(".message");
    this.list = this.find(".thumbs");
    this.more = this.find(".show-all");
    this.capture = new Capture(this.find(".capture"), (files) => this.add(files));
    this.listen();
  }

  /** @param {string} selector @returns {any} */
  find(selector) {
    return this.element.querySelector(selector);
  }

  listen() {
    const { label } = this.shown;
    this.name.value = label;
    this.name.addEventListener("change", () => this.rename());
    this.name.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && this.name.blur());
    this.find(".choose").addEventListener("click", () => this.find(".files").click());
    this.find(".draw").addEventListener("click", () => this.capture.toggle("pad", this.shown.label));
    this.find(".webcam").addEventListener("click", () => this.capture.toggle("camera", this.shown.label));
    this.find(".leave-out").addEventListener("click", () => this.act(() => leaveOut(this.shown, !this.shown.isLeftOut)));
    this.find(".save").addEventListener("click", () => this.act(() => saveExamples([this.shown], `${this.shown.label}.zip`)));
    this.find(".remove-all").addEventListener("click", () => this.act(() => this.removeAll()));
    this.find(".remove-class").addEventListener("click", () => this.act(() => this.removeClass()));
    this.more.addEventListener("click", () => {
      this.isWhole = !this.isWhole;
      this.update();
    });
    acceptChoice(this.find(".files"), (collected) => this.take(collected));
    acceptDrops(this.element, (collected) => this.take(collected));
  }

  /** @param {import("./files.js").Collected} collected folders and zips dropped on a class are all of that class */
  take({ found, rejected }) {
    if (rejected.length > 0) complain(this.message, rejected);
    else say(this.message, "");
    this.nameByFolder(found);
    if (found.length > 0) this.add(found.map(({ file }) => file));
  }

  /** @param {import("./files.js").Found[]} found a class that has no name of its own takes that of the folder */
  nameByFolder(found) {
    const [label] = found.map((each) => each.label);
    const isPlain = /^Class \d+$/.test(this.shown.label) && this.shown.examples.length === 0;
    if (label && isPlain && !state.classes.some((each) => each.label === label) && found.every((each) => each.label === label)) this.shown.label = label;
  }

  /** @param {File[]} files */
  add(files) {
    return addFiles(this.shown, files, (refused) => complain(this.message, refused, refused.length < files.length));
  }

  async rename() {
    const label = this.name.value.trim().normalize("NFC");
    if (!label || label === this.shown.label) {
      this.name.value = this.shown.label;
      return;
    }
    this.isRenaming = true;
    await this.act(() => renameClass(this.shown, label));
    this.isRenaming = false;
    this.name.value = this.shown.label;
  }

  async removeAll() {
    const sure = await confirm({ title: `Remove all examples of ${this.shown.label}?`, text: "Versions that were adapted on them stay.", action: "Remove examples" });
    if (sure) await removeExamples(this.shown, this.shown.examples.map((example) => example.id));
  }

  async removeClass() {
    const n = this.shown.examples.length;
    const sure = n === 0 || (await confirm({ title: `Delete the class ${this.shown.label}?`, text: `Its ${count(n, "example")} will be removed.`, action: "Delete class" }));
    if (!sure) return;
    await removeClass(this.shown);
    byId("add-class").focus();
  }

  /** @param {() => Promise<unknown>} work */
  async act(work) {
    this.find(".menu").open = false;
    say(this.message, "");
    try {
      await work();
    } catch (error) {
      say(this.message, inWords(error), "problem");
    }
  }

  update() {
    const { label, examples, n_waiting } = this.shown;
    if (document.activeElement !== this.name && !this.isRenaming) this.name.value = label;
    this.element.setAttribute("aria-label", `Class ${label}`);
    const onTheWay = `${examples.length > 0 ? `${examples.length} + ` : ""}${n_waiting} on the way`;
    this.number.textContent = n_waiting > 0 ? onTheWay : count(examples.length, "example");
    this.showLeftOut();
    for (const button of this.element.querySelectorAll("[data-name]")) {
      button.setAttribute("aria-label", `${/** @type {HTMLElement} */ (button).dataset.name} ${label}`);
    }
    this.updateTiles();
  }

  showLeftOut() {
    const { isLeftOut, examples } = this.shown;
    const button = this.find(".leave-out");
    this.element.classList.toggle("is-left-out", isLeftOut);
    this.find(".left-out").hidden = !isLeftOut;
    button.textContent = isLeftOut ? "Take in again" : "Leave out when adapting";
    button.dataset.name = isLeftOut ? "Take in again class" : "Leave out when adapting class";
    button.disabled = examples.length === 0;
  }

  updateTiles() {
    const { label, examples } = this.shown;
    const newestFirst = examples.toReversed();
    const shown = this.isWhole ? newestFirst : newestFirst.slice(0, SHOWN);
    const suspects = new Set((currentVersion()?.report?.suspects ?? []).map((/** @type {any} */ each) => each.example_id));
    const tiles = shown.map((example) => {
      const tile = this.tiles.get(example.id) ?? this.tile(example);
      tile.classList.toggle("is-suspect", suspects.has(example.id));
      return tile;
    });
    this.tiles = new Map(shown.map((example, index) => [example.id, tiles[index]]));
    if (tiles.length !== this.list.children.length || tiles.some((tile, index) => this.list.children[index] !== tile)) this.list.replaceChildren(...tiles);
    this.more.hidden = examples.length <= SHOWN;
    this.more.textContent = this.isWhole ? "Show fewer" : `Show all ${examples.length}`;
    this.more.setAttribute("aria-label", `${this.more.textContent} of ${label}`);
  }

  /** @param {import("./state.js").Example} example */
  tile(example) {
    const called = example.filename ?? "example";
    const remove = h("button", { type: "button", class: "remove", title: `Remove ${called}`, "aria-label": `Remove ${called} from ${this.shown.label}`, text: "×" });
    const tile = h("li", {}, thumbnail(state.task?.id ?? "", example.id, called), remove);
    remove.addEventListener("click", async () => {
      const next = tile.nextElementSibling ?? tile.previousElementSibling;
      await this.act(() => removeExamples(this.shown, [example.id]));
      (next?.querySelector("button") ?? this.name).focus();
    });
    return tile;
  }
}
