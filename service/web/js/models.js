/** The models: a choice in two lists, and each with its card; those of one's own are deleted here. */

import * as api from "./api.js";
import { $, element, short } from "./elements.js";

const FACTS = 30; // of a card, at most; the API has all

/** What a list calls a model: whether it takes colours, and whether it beat its base. */
export const titleOf = ({ name, channels, promoted }) =>
  `${name} (${channels === 3 ? "RGB" : "gray"}${promoted === false ? ", not promoted" : ""})`;

/** Fill the choices and the cards; `onGone` is called once one was deleted. */
export async function list(onGone, onError) {
  const { models } = await api.json(`${api.base}/models?limit=200`);
  const choices = [["", "the one that fits"], ...models.map((model) => [model.id, titleOf(model)])];
  fill($("model"), choices);
  fill($("tune-base"), [...choices, ["none", "nothing: from scratch"]]);
  $("models").replaceChildren(...models.map((model) => card(model, onGone, onError)));
}

function fill(list, choices) {
  const chosen = list.value;
  list.replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
  list.value = chosen;
  if (list.selectedIndex < 0) list.value = ""; // what was chosen is gone
}

function card(model, onGone, onError) {
  const rows = facts(model).map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)));
  const inside = [element("table", {}, element("tbody", {}, ...rows))];
  if (model.promoted !== null) {
    const button = element("button", { type: "button", "aria-label": `Delete model ${model.name}` }, "Delete");
    button.addEventListener("click", () => {
      if (!confirm(`Delete the model ${model.name} and its weights? This cannot be undone.`)) return;
      api.request(model.links.self, { method: "DELETE" }).then(onGone).catch(onError);
    });
    inside.push(button);
  }
  return element("li", {}, element("details", {}, element("summary", {}, titleOf(model)), ...inside));
}

/** Rows of a card: what the service says of the model, then the plain values of its own card. */
function facts({ id, base_model: base, promoted, weights_bytes: bytes, created_at: made, card: kept }) {
  const plain = (value) => (typeof value === "number" ? short(value) : String(value));
  const own = Object.entries(kept).flatMap(([name, value]) => {
    const inner = value !== null && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : null;
    const pairs = inner ? inner.map(([key, each]) => [`${name}, ${key}`, each]) : [[name, value]];
    return pairs.filter(([, each]) => ["string", "number", "boolean"].includes(typeof each)).map(([key, each]) => [key.replaceAll("_", " "), plain(each)]);
  });
  return [
    ["Id", id],
    ...(base ? [["Made from", base]] : []),
    ["Verdict", promoted === null ? "ships with the service" : promoted ? "beat its base on images it did not see" : "not promoted: it did not prove better than its base on images it did not see"],
    ["Weights", `${short(bytes / 1e6)} MB`],
    ["Made", new Date(made).toLocaleString()],
    ...own.filter(([name]) => name !== "promoted"),
  ].slice(0, FACTS);
}
