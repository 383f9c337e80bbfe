/** Where files are dropped: single ones, many, or folders with all that is below them. */

/** Make `zone` take files, unless a zone inside of it does; `onFiles` gets them, those of folders by their paths' order. */
export function takeDrops(zone, onFiles, onError) {
  const mark = zone === document.body ? "dropping" : "over";
  const files = (event) => event.dataTransfer?.types.includes("Files") && !event.defaultPrevented;
  zone.addEventListener("dragover", (event) => {
    zone.classList.toggle(mark, Boolean(files(event)));
    if (files(event)) event.preventDefault();
  });
  zone.addEventListener("dragleave", (event) => zone.contains(event.relatedTarget) || zone.classList.remove(mark));
  zone.addEventListener("drop", (event) => {
    zone.classList.remove(mark);
    if (!files(event)) return;
    event.preventDefault();
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    Promise.all(entries.map(filesOf)).then((found) => onFiles(found.flat())).catch(onError);
  });
}

/** Take files that are pasted anywhere on the page. */
export function takePastes(onFiles) {
  document.addEventListener("paste", (event) => {
    const found = [...event.clipboardData.files];
    if (!found.length) return;
    event.preventDefault();
    onFiles(found);
  });
}

/** Files of a folder that a person means: not those that the system hides in it. */
export const visible = (files) => files.filter((file) => !file.name.startsWith("."));

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((done, fail) => entry.file(done, fail))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives a hundred entries at a time, then none.
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) break;
    found.push(...some);
  }
  found.sort((a, b) => (a.name < b.name ? -1 : 1));
  return visible((await Promise.all(found.map(filesOf))).flat());
}
