// What this service can do, read from its own description, so that no control is shown that it lacks.

import { call } from "./api.js";

/**
 * @typedef {object} Features
 * @property {boolean} update name and threshold of a task can be changed
 * @property {boolean} activate a version can be made the one that answers
 * @property {boolean} removeClass
 * @property {boolean} feedback
 * @property {boolean} events an adaptation tells its progress
 * @property {boolean} evaluate
 * @property {string[]} exports formats
 * @property {boolean} nearest predictions can name the nearest examples
 */

/**
 * What the service offers.
 * @returns {Promise<Features>}
 */
export async function readFeatures() {
  const { paths } = await call("GET", "/openapi.json");
  /** @type {Map<string, any>} */
  const operations = new Map();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(/** @type {any} */ (methods))) {
      operations.set(`${method} ${path.replaceAll(/\{\w+\}/g, "*")}`, operation);
    }
  }
  const task = "/v1/tasks/*";
  return {
    update: operations.has(`patch ${task}`),
    activate: operations.has(`post ${task}/versions/*/activate`),
    removeClass: operations.has(`delete ${task}/classes/*`),
    feedback: operations.has(`post ${task}/feedback`),
    events: operations.has(`get ${task}/versions/*/events`),
    evaluate: operations.has(`post ${task}/evaluate`),
    exports: exportFormats(operations.get(`get ${task}/export`)),
    nearest: parameterNames(operations.get(`post ${task}/predict`)).includes("nearest"),
  };
}

/** @param {any} operation */
function parameterNames(operation) {
  return (operation?.parameters ?? []).map((/** @type {any} */ parameter) => parameter.name);
}

/**
 * @param {any} operation
 * @returns {string[]}
 */
function exportFormats(operation) {
  if (!operation) return [];
  const format = (operation.parameters ?? []).find((/** @type {any} */ parameter) => parameter.name === "format");
  return format?.schema?.enum ?? ["onnx"];
}
