"use strict";
const form = document.getElementById("form");
const result = document.getElementById("result");

function made(tag, text, kind) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

function bar(name, value, most, both) {
  const row = made("div", undefined, "bar");
  const track = made("div", undefined, both ? "track both" : "track");
  const fill = made("i", undefined, value < 0 ? "against" : "");
  const share = most > 0 ? Math.abs(value) / most * (both ? 50 : 100) : 0;
  fill.style.width = share + "%";
  fill.style.left = !both ? "0" : value < 0 ? 50 - share + "%" : "50%";
  track.append(fill);
  const shown = both && value > 0 ? "+" + value.toPrecision(3) : Number(value.toPrecision(3));
  row.append(made("span", name), track, made("span", shown, "number"));
  return row;
}

function drawn(target, row) {
  const part = made("div");
  if (target) part.append(made("h2", target));
  const answer = Array.isArray(row.answer) ? row.answer.join(", ") || "none of the labels" : row.answer;
  part.append(made("p", typeof answer === "number" ? Number(answer.toPrecision(5)) : answer, "answer"));
  if (row.probabilities) {
    part.append(made("h2", "Probabilities"));
    const sorted = Object.entries(row.probabilities).sort((a, b) => b[1] - a[1]);
    sorted.slice(0, 12).forEach(([name, p]) => part.append(bar(name, p, 1, false)));
  }
  if (row.worth) {
    part.append(made("h2", row.probabilities ? "What each modality adds to the answer's probability" : "What each modality adds"));
    const most = Math.max(...Object.values(row.worth).map(Math.abs));
    for (const [name, value] of Object.entries(row.worth)) {
      part.append(row.present.includes(name) ? bar(name, value, most, true) : made("p", name + ": absent"));
    }
  }
  (row.notes || []).forEach(note => part.append(made("p", note, "note")));
  return part;
}

async function ask(event) {
  if (event) event.preventDefault();
  result.replaceChildren(made("p", "…"));
  const body = new FormData();
  for (const [name, value] of new FormData(form)) {
    if (value instanceof File ? value.size : value.trim()) body.append(name, value);
  }
  try {
    const answer = await fetch("predict/upload", { method: "POST", body });
    const row = await answer.json();
    if (!answer.ok) throw new Error(row.error || answer.statusText);
    const parts = row.targets ? Object.entries(row.targets).map(([t, r]) => drawn(t, r)) : [drawn("", row)];
    result.replaceChildren(...parts);
  } catch (error) {
    result.replaceChildren(made("p", String(error.message || error), "note"));
  }
}

form.addEventListener("submit", ask);
form.addEventListener("reset", () => {
  result.replaceChildren();
  form.querySelectorAll("img").forEach(image => image.remove());
});
form.addEventListener("change", event => {
  const field = event.target;
  if (field.type !== "file" || !field.accept.startsWith("image")) return;
  const label = field.closest("label");
  label.querySelectorAll("img").forEach(image => image.remove());
  if (!field.files.length) return;
  const image = made("img");
  image.alt = "";
  image.src = URL.createObjectURL(field.files[0]);
  label.append(image);
});

// A link may bring a filled form: ?size=3&colour=red, and with &answer= it is sent.
const given = new URLSearchParams(location.search);
for (const [name, value] of given) {
  const field = form.elements.namedItem(name);
  if (field && field.type !== "file") field.value = value;
}
if (given.has("answer")) ask();
