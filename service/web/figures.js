// Figures on the screen: a share with its interval, and a table of what is taken for what.

import { h, percent } from "./dom.js";

const MOST_CLASSES = 20;

/**
 * A share with its 95 % interval, as a number and as a line.
 * @param {{name: string, share: number, interval?: [number, number]}} about
 */
export function figure({ name, share, interval }) {
  const dot = h("span", { class: "dot" });
  dot.style.left = `${100 * share}%`;
  const line = h("span", { class: "range" });
  const [low, high] = interval ?? [share, share];
  line.style.left = `${100 * low}%`;
  line.style.width = `${100 * (high - low)}%`;
  return h("div", { class: "figure" },
    h("p", { class: "figure-name", text: name }),
    h("p", { class: "figure-share" }, percent(share), interval && h("span", { text: ` between ${percent(low)} and ${percent(high)}` })),
    h("div", { class: "scale", "aria-hidden": "true" }, line, dot));
}

/**
 * Who is taken for whom.
 * @param {{caption: string, labels: string[], counts: number[][]}} about
 */
export function matrix({ caption, labels, counts }) {
  if (labels.length > MOST_CLASSES) return mistakes(labels, counts);
  const head = h("tr", {}, h("td"), ...labels.map((label) => h("th", { scope: "col" }, h("span", { text: label, title: label }))));
  const rows = counts.map((row, i) => {
    const total = row.reduce((sum, n) => sum + n, 0) || 1;
    return h("tr", {}, h("th", { scope: "row" }, h("span", { text: labels[i], title: labels[i] })), ...row.map((n, j) => cell(n, n / total, i === j)));
  });
  return h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "What is taken for what" }, h("table", { class: "matrix" }, h("caption", { class: "fine", text: caption }), h("thead", {}, head), h("tbody", {}, ...rows)));
}

/**
 * @param {number} n
 * @param {number} share
 * @param {boolean} isRight
 */
function cell(n, share, isRight) {
  const made = h("td", { class: isRight ? "is-right" : n > 0 ? "is-wrong" : "", text: n === 0 && !isRight ? "·" : String(n) });
  made.style.setProperty("--share", String(share));
  return made;
}

/**
 * The commonest mistakes, where a table would be too large to read.
 * @param {string[]} labels
 * @param {number[][]} counts
 */
function mistakes(labels, counts) {
  const pairs = counts.flatMap((row, i) => row.map((n, j) => ({ n, text: `${labels[i]} taken for ${labels[j]}: ${n}`, isWrong: i !== j && n > 0 })));
  const worst = pairs.filter((pair) => pair.isWrong).sort((a, b) => b.n - a.n).slice(0, 12);
  return worst.length > 0 ? h("ul", { class: "plain" }, ...worst.map((pair) => h("li", { text: pair.text }))) : h("p", { text: "Nothing is confused." });
}
