/** Small helpers to build the page's own elements; text never becomes markup. */

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "scope") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** A number for people: four significant digits, no powers of ten between 0.0001 and a million. */
export function short(value) {
  const rounded = Number(Number(value).toPrecision(4));
  const plain = rounded === 0 || (Math.abs(rounded) >= 1e-4 && Math.abs(rounded) < 1e6);
  return plain ? rounded.toLocaleString("en", { maximumFractionDigits: 8 }) : rounded.toExponential(2);
}
