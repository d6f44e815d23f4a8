// Shows /openapi.json in Swagger UI. Where the service wants a key, asks for it and sends it along with "try it out".
"use strict";

const panel = document.getElementById("key");
const input = document.getElementById("key-text");

async function show(key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const response = await fetch("/openapi.json", { headers });
  if (response.status === 401) {
    panel.hidden = false;
    document.getElementById("key-problem").textContent = key ? "This is not the key." : "";
    input.focus();
    return;
  }
  panel.hidden = true;
  const ui = SwaggerUIBundle({
    spec: await response.json(),
    domNode: document.getElementById("docs"),
    deepLinking: true,
    validatorUrl: null,
    onComplete: () => key && ui.preauthorizeApiKey("bearer", key),
  });
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  show(input.value.trim());
});
show("");
